"""What can be said of the programs for accelerators without one: SOLOv2-R50 at 800 x 1344."""

import math
import re
from typing import Any

import jax
import pytest

from solojax import config as config_lib
from solojax import device_memory
from solojax.bench import parts, rows
from solojax.inference import predict
from solojax.models import detector
from solojax.training import memory, out_of_memory

CANVAS = 800, 1344
REMAT_MIB = 2560

# Giga multiplications with an addition, for an image of 800 x 1344, counted by hand from the
# architecture with borders as if they were inside. The head is both trunks and the mask features.
BY_HAND = {"backbone": 87.6, "neck": 60.9, "head": 70.0 + 34.1}


@pytest.fixture(scope="module")
def config() -> config_lib.Config:
    return config_lib.load("solov2_r50_fpn_1x")


@pytest.mark.slow
def test_a_prediction_takes_no_more_than_was_counted_by_hand(config):
    found = parts.by_part(config, CANVAS, "bfloat16")
    for name, count in BY_HAND.items():
        assert 0.97 < found[name].operations / (2e9 * count) < 1.03, name
    # 500 masks with each other, all 1,000 candidates measured, 100 masks made.
    pixels = 200 * 336
    by_hand = 2 * pixels * (500 * 500 + (1000 + 100) * 256)
    assert 0.97 < found["detection"].operations / by_hand < 1.03
    assert sum(part.parameters for part in found.values()) == 46_592_912


@pytest.fixture(scope="module")
def step(config) -> Any:
    """The training step in bfloat16, one image on each of eight devices, lowered alone."""
    return parts.lower_step(config, CANVAS, "bfloat16")


@pytest.fixture(scope="module")
def prediction(config) -> Any:
    """The whole of a prediction in bfloat16, for a GPU."""
    network = predict.make_predict(config.model, (480, 800), "bfloat16")
    shapes = [((1, *CANVAS, 3), "uint8"), ((1, 2), "int32"), ((1, 2), "int32")]
    given = [jax.ShapeDtypeStruct(*one) for one in shapes]
    return parts.lower(network, detector.variable_shapes(config.model), *given)


@pytest.mark.slow
def test_a_step_takes_no_more_than_three_times_its_forward_pass(step):
    assert 2.85 < rows.count(step)[0] / (2e9 * sum(BY_HAND.values())) < 3.1


@pytest.mark.slow
def test_no_program_of_bfloat16_has_a_convolution_of_float32(step, prediction):
    for lowered, count in ((step, 332), (prediction, 119)):
        convolutions = re.findall(
            r"stablehlo\.convolution.*? : \((.*)\) -> (.*)", lowered.as_text()
        )
        assert len(convolutions) == count
        assert not any("f32" in "".join(types) for types in convolutions)


def bytes_of(shape: str) -> int:
    """Of a tensor's type, as "1x200x336xbf16"."""
    *sides, kind = shape.split("x")
    return math.prod(map(int, sides)) * {"bf16": 2, "ui8": 1, "i1": 1}.get(kind, 4)


@pytest.mark.slow
def test_nothing_large_is_transposed(step, prediction):
    text = step.as_text() + prediction.as_text()
    transposed = re.findall(r"stablehlo\.transpose.*?: \(tensor<([^>]*)>", text)
    assert max(map(bytes_of, transposed)) <= 2**20


@pytest.mark.slow
def test_gradients_cross_devices_in_fewer_sums_than_there_are_parameters(step, config):
    leaves = jax.tree.leaves(detector.variable_shapes(config.model)["params"])
    assert step.as_text().count("stablehlo.all_reduce") <= 81 < len(leaves) / 2.5


@pytest.mark.slow
def test_a_prediction_asks_the_host_for_nothing(prediction):
    text = prediction.as_text()
    for asks in ("custom_call", "infeed", "outfeed", "send", "recv"):
        assert f"stablehlo.{asks}" not in text, asks
    # Over the images whose masks are made; nowhere the data decide how often.
    assert text.count("stablehlo.while") == 1


def test_pixels_are_nearly_all_that_crosses_to_the_device(config):
    batch = memory.abstract_batch(config, CANVAS, 2)
    pixels, sizes = 2 * 3 * math.prod(CANVAS), device_memory.size_of(batch)
    masks = 2 * config.data.max_instances * math.prod(CANVAS) // 16 // 8
    assert pixels + masks < sizes < 1.001 * (pixels + masks)


@pytest.mark.long
def test_the_memory_of_a_step_stays_where_it_is(config):
    two = config_lib.override(config, f"training.batch_size={2 * jax.device_count()}")
    assert memory.step_memory(two, CANVAS).temporary <= 4_200 * 2**20
    again = config_lib.override(two, *out_of_memory.remat_overrides(config.model))
    assert memory.step_memory(again, CANVAS).temporary <= REMAT_MIB * 2**20


def test_the_table_adds_its_parts_up(monkeypatch):
    made_up = {name: parts.Part(10, 1e9, 2e9) for name in (*parts.PARTS, "detection")}
    monkeypatch.setattr(parts, "by_part", lambda *_: made_up)
    monkeypatch.setattr(parts, "lower_step", lambda *_: None)
    monkeypatch.setattr(parts.rows, "count", lambda _: (9e9, 0.0))
    table = parts.table(config_lib.load("shapes"))
    assert "in all               40      4.0     8.00" in table
    assert "takes 9.0 GFLOP an image, 3.00 times its forward pass" in table
