import functools
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pytest

from solojax import cli, device_memory
from solojax import config as config_lib
from solojax.data import pipeline, synthetic
from solojax.data.records import coco
from solojax.heads.grid import Grid
from solojax.training import memory, memory_survey, out_of_memory
from solojax.types import InputError
from tests import examples

CONFIGS = Path(__file__).parents[2] / "configs"
CANVAS = (800, 1344)


def small_config() -> config_lib.Config:
    return config_lib.Config(
        examples.MODEL,
        data=config_lib.Data(canvases=((64, 64), (64, 128)), max_instances=3),
        training=config_lib.Training(batch_size=8),
    )


HEAD = examples.MODEL.head


@pytest.fixture(scope="module")
def shapes_data(tmp_path_factory: pytest.TempPathFactory) -> config_lib.Data:
    root = tmp_path_factory.mktemp("shapes")
    synthetic.draw_shapes(root, train=2, val=1, processes=1)
    return config_lib.Data(
        root=str(root),
        train_json="annotations/instances_train.json",
        train_images="images",
        records=str(root / "records"),
        canvases=((64, 96),),
        train_short_sides=(64,),
        long_side=96,
        max_instances=3,
    )


@pytest.mark.parametrize(
    ("head", "strides"),
    [
        (HEAD, {4}),
        (
            HEAD.clone(
                features="separate",
                grid=Grid(
                    levels=("p2", "p3", "p4"),
                    strides=(8, 8, 32),
                    sizes=(4, 3, 2),
                    scale_ranges=((1, 32), (16, 64), (32, 256)),
                ),
            ),
            {4, 16},
        ),
    ],
    ids=["one mask stride", "several"],
)
def test_the_abstract_batch_is_that_of_the_pipeline(head, strides, shapes_data):
    model = examples.MODEL.clone(head=head)
    assert set(head.mask_strides) == strides
    (real,) = pipeline.train_batches(
        coco.prepare(shapes_data, "train"),
        shapes_data,
        mask_strides=head.mask_strides,
        batch_size=2,
        seed=0,
        first=0,
        last=1,
    )
    found = memory.abstract_batch(config_lib.Config(model, shapes_data), (64, 96), 2)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), found) == jax.tree.map(
        lambda x: (x.shape, x.dtype), real
    )
    assert found.instances.masks.keys() == real.instances.masks.keys() == strides


@pytest.fixture(scope="module")
def compile_once() -> Callable[..., memory.Memory]:
    """``step_memory``, which takes seconds, but for what a test before has compiled already."""
    return functools.cache(memory.step_memory)


def four_each(*overrides: str) -> config_lib.Config:
    """Four images on each of eight devices."""
    return config_lib.override(
        small_config(), "training.batch_size=32", "data.canvases=((64,128),)", *overrides
    )


@pytest.mark.slow
def test_memory_counts_state_and_batch_exactly(compile_once):
    need = compile_once(four_each(), (64, 128))
    parameters = sum(
        leaf.size for leaf in jax.tree.leaves(jax.eval_shape(lambda: examples.make_variables(1)))
    )
    # float32 parameters and momentum, two counters, a flag; four of the batch's 32 images.
    assert need.state == 2 * 4 * parameters + 2 * 4 + 1
    four = memory.abstract_batch(four_each(), (64, 128), 4)
    assert need.batch == sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(four))
    # The output of the stem's convolution is kept for the backward pass.
    assert need.temporary > 4 * 32 * 64 * 8 * 4
    assert need.peak == need.state + need.batch + need.temporary


def test_vanilla_solo_never_holds_a_channel_for_every_cell():
    config = config_lib.load(CONFIGS / "solo_r50_fpn_1x.py", ["training.batch_size=16"])
    text = memory.lower_step(
        config, *memory.arguments(config, CANVAS)
    ).as_text()  # two images on each of eight devices
    # Sorted, so that neither the order of the axes nor a transposition hides anything.
    shapes = {
        tuple(sorted(map(int, found.split("x"))))
        for found in re.findall(r"tensor<(\d+(?:x\d+)*)xf32>", text)
    }
    head = config.model.head
    for side, stride in zip(head.grid.sizes, head.mask_strides, strict=True):
        height, width = CANVAS[0] // stride, CANVAS[1] // stride
        assert tuple(sorted((2, height, width, head.width))) in shapes
        if side * side != head.width:  # 16 x 16 cells, as many as the features have channels
            assert tuple(sorted((2, height, width, side * side))) not in shapes
    assert max(map(math.prod, shapes)) == 2 * 200 * 336 * head.max_positives


@functools.cache
def state_bytes() -> int:
    state, _ = memory.arguments(small_config(), (64, 64))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def linear(config: config_lib.Config, canvas: tuple[int, int]) -> memory.Memory:
    """Accounts as they could be: the state, and a byte for each pixel of an image at once."""
    images = config.training.batch_size // jax.device_count() // config.training.accumulate
    return memory.Memory(state=state_bytes(), batch=0, temporary=math.prod(canvas) * images)


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[tuple[int, int], int]]]:
    """Puts made-up accounts in place of compiling; the list is of what would be compiled."""

    def install(account: Callable[..., Any]) -> list[tuple[tuple[int, int], int]]:
        compiled = []

        def step_memory(config: config_lib.Config, canvas: tuple[int, int]) -> memory.Memory:
            compiled.append((canvas, config.training.batch_size))
            return account(config, canvas)

        monkeypatch.setattr(memory, "step_memory", step_memory)
        return compiled

    return install


@pytest.mark.parametrize("canvases", [((64, 64), (64, 128)), ((64, 128), (64, 64))])
@pytest.mark.parametrize("images", [1, 3, 7, 40])
def test_the_largest_batch_is_that_of_the_largest_canvas(images, canvases, planned):
    compiled = planned(linear)
    config = config_lib.override(small_config(), f"data.canvases={canvases}")
    # Room for half an image more than the eight devices should get each.
    programs, most = memory_survey.survey(config, state_bytes() + int((images + 0.5) * 64 * 128))
    assert most == 8 * images
    peaks = {(one.canvas, one.batch_size): one.memory.peak for one in programs}
    assert peaks[(64, 128), most] == state_bytes() + images * 64 * 128
    assert ((64, 128), most + 8) in peaks, "one image more was looked at"
    assert ((64, 64), most) in peaks, "and every canvas was"
    assert len(compiled) == len(set(compiled)) == len(programs) <= 5


def test_images_go_to_all_devices_in_all_parts(planned):
    planned(linear)
    config = config_lib.override(
        small_config(),
        "training.batch_size=32",
        "training.accumulate=2",
        "data.canvases=((64,64),)",
    )
    _, most = memory_survey.survey(config, state_bytes() + 3 * 64 * 64)
    assert most == 3 * 2 * 8


@pytest.mark.parametrize("room", [-1000, 0, 64 * 64])
def test_nothing_fits_where_one_image_does_not(room, planned):
    compiled = planned(linear)
    assert memory_survey.survey(small_config(), state_bytes() + room)[1] == 0
    assert len(compiled) == 2


def test_a_peak_that_follows_no_line_is_searched_as_well(planned):
    def crooked(config: config_lib.Config, canvas: tuple[int, int]) -> memory.Memory:
        images = config.training.batch_size // 8
        return memory.Memory(state_bytes(), 0, min(images, 9) * 100 + max(images - 300, 0) ** 2)

    compiled = planned(crooked)
    config = config_lib.override(small_config(), "data.canvases=((64,64),)")
    assert memory_survey.survey(config, state_bytes() + 900 + 20**2)[1] == 8 * 320
    assert len(compiled) < 25


def test_a_compiler_that_runs_out_of_memory_says_that_nothing_fits(planned):
    def refuse(config: config_lib.Config, canvas: tuple[int, int]) -> memory.Memory:
        if config.training.batch_size > 8 * 5:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Ran out of memory in hbm")
        return linear(config, canvas)

    planned(refuse)
    config = config_lib.override(small_config(), "training.batch_size=64")
    programs, most = memory_survey.survey(config, 2**40)
    assert most == 8 * 5
    assert "64x128             64 XLA finds the device too small" in memory.table(programs)


def test_other_errors_of_the_compiler_stay_errors(planned):
    def fail(*_: Any) -> memory.Memory:
        raise jax.errors.JaxRuntimeError("INTERNAL: a bug")

    planned(fail)
    with pytest.raises(jax.errors.JaxRuntimeError, match="a bug"):
        memory_survey.survey(small_config())
    with pytest.raises(jax.errors.JaxRuntimeError, match="a bug"):
        out_of_memory.advice(small_config(), (64, 64))


def test_room_on_a_gpu_is_what_is_left_of_the_part_that_is_given_to_xla(monkeypatch):
    for name in ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"):
        monkeypatch.delenv(name, raising=False)
    assert device_memory.room(80) == 54 * 2**30  # three quarters of it, but for a tenth
    monkeypatch.setenv("XLA_CLIENT_MEM_FRACTION", ".5")
    assert device_memory.room(80) == 36 * 2**30
    monkeypatch.setenv("XLA_CLIENT_MEM_FRACTION", "half")
    with pytest.raises(InputError, match="XLA_CLIENT_MEM_FRACTION=half"):
        device_memory.room(80)


def test_room_on_the_device_at_hand_is_what_it_says(monkeypatch):
    assert device_memory.room() is None, "CPUs say nothing"

    class Accelerator:
        def memory_stats(self) -> dict[str, int]:
            return {"bytes_limit": 1000}

    monkeypatch.setattr(jax, "local_devices", lambda: [Accelerator()])
    assert device_memory.room() == 900


def needs_less(config: config_lib.Config, canvas: tuple[int, int]) -> memory.Memory:
    """Made-up accounts in which all that can be done helps, but for bfloat16."""
    need = linear(config, canvas)
    rematerialised = config.model.backbone.remat_stages and config.model.head.remat
    wider = config.training.precision == "bfloat16"
    return need._replace(temporary=need.temporary * (1 + wider) // (1 + bool(rematerialised)))


def remedies(text: str) -> dict[str, int]:
    """The last lines of an advice: what to set, and its peak in MiB."""
    found = re.findall(r"^ +([\d,]+)  --set (.+)  \(", text, re.MULTILINE)
    return {overrides: int(number.replace(",", "")) for number, overrides in found}


REMAT = "'model.backbone.remat_stages=(1,2,3,4)' model.head.remat=True"


def test_advice_names_each_field_that_lowers_the_peak(planned, capsys):
    compiled = planned(needs_less)
    config = config_lib.override(small_config(), "training.batch_size=64")
    said = out_of_memory.advice(config, (1024, 1024))
    assert len(compiled) == 5
    assert "canvas 1024x1024" in capsys.readouterr().out, "that it takes a while is said at once"
    assert "1024x1024          64        1       0          8        9\n" in said
    assert remedies(said) == {
        "training.accumulate=2": 5,
        REMAT: 5,
        "training.batch_size=32": 5,
    }, "bfloat16 needs more here, so nobody is sent there"


@pytest.mark.parametrize(
    ("images", "accumulate", "wanted"),
    [
        (6, 2, {"training.accumulate=6", "training.batch_size=16"}),  # 4 does not divide 6
        (5, 1, {"training.accumulate=5", "training.batch_size=16"}),
        (4, 4, set()),  # one image at once already
    ],
)
def test_advised_batches_divide_over_devices_and_parts(images, accumulate, wanted, planned):
    planned(needs_less)
    overrides = f"training.batch_size={8 * images}", f"training.accumulate={accumulate}"
    config = config_lib.override(small_config(), *overrides)
    said = remedies(out_of_memory.advice(config, (1024, 1024))).keys()
    assert said == {*wanted, REMAT}


def test_what_is_done_already_is_not_advised(planned):
    compiled = planned(needs_less)
    config = config_lib.override(
        small_config(),
        "training.precision=bfloat16",
        "model.backbone.remat_stages=(1,2,3,4)",
        "model.head.remat=True",
    )
    said = out_of_memory.advice(config, (64, 64))
    assert len(compiled) == 1
    assert said.endswith("smaller data.canvases or a smaller model would need less")


def bench(capfd: pytest.CaptureFixture[str], *options: str) -> str:
    config = ["--config", str(CONFIGS / "shapes.py")]
    code = cli.main(["bench", "memory", *config, *options])
    printed = capfd.readouterr()
    return printed.err if code else printed.out


def test_the_command_prints_the_batch_to_set(planned, capfd, monkeypatch):
    monkeypatch.delenv("XLA_CLIENT_MEM_FRACTION", raising=False)
    planned(linear)
    options = ["--set", "training.batch_size=8", "data.canvases=((1024,1024),(512,1024))"]
    need = state_bytes() + 12.5 * 2**20  # twelve images and a half
    printed = bench(capfd, "--device-memory", str(need / 0.9 / 0.75 / 2**30), *options)
    assert "each of 8 x cpu, float32, training.accumulate=1" in printed
    assert "1024x1024           8        1       0          1        2\n" in printed
    assert "training.batch_size=96 is the largest that fits, 12 images on each device" in printed
    assert "not even one" in bench(capfd, "--device-memory", "0.000001", *options)


def test_the_command_without_a_known_memory_names_the_flag(planned, capfd):
    compiled = planned(linear)
    printed = bench(capfd, "--set", "training.batch_size=8", "data.canvases=((64,64),(64,96))")
    assert compiled == [((64, 96), 8), ((64, 64), 8)]
    assert printed.endswith("--device-memory GIB\n") and "largest" not in printed


@pytest.mark.parametrize("gib", ["0", "-1", "nan", "inf"])
def test_a_device_of_impossible_memory_is_refused(gib, capfd):
    assert "solojax: error: --device-memory" in bench(capfd, f"--device-memory={gib}")


@pytest.mark.slow
def test_the_compiled_peak_grows_with_batch_and_canvas_far_beyond_this_machine(compile_once):
    small = compile_once(four_each(), (64, 64)).peak
    peak = compile_once(four_each(), (64, 128)).peak
    # More images have more pooling windows than XLA for CPUs can count; so each holds more.
    wide = [
        f"model.{field}=256" for field in ("neck.width", "head.width", "head.mask_feature_width")
    ]
    beyond = config_lib.override(small_config(), f"training.batch_size={2**21}", *wide)
    assert small < peak < 2**40 < compile_once(beyond, (64, 128)).peak, "a TiB on each device"


@pytest.mark.slow
def test_the_compiled_largest_batch_fits_and_one_image_more_does_not(compile_once, monkeypatch):
    monkeypatch.setattr(memory, "step_memory", compile_once)
    peak = compile_once(four_each(), (64, 128)).peak
    programs, most = memory_survey.survey(four_each(), peak + 1000)
    assert most == 4 * 8
    fitting, failing = programs
    assert (fitting.batch_size, fitting.memory.peak) == (4 * 8, peak)
    assert failing.batch_size == 5 * 8 and failing.memory.peak > peak + 1000


@pytest.mark.slow
def test_compiled_remedies_need_less(compile_once, monkeypatch):
    monkeypatch.setattr(memory, "step_memory", compile_once)
    now = compile_once(four_each(), (64, 128)).peak
    found = remedies(out_of_memory.advice(four_each(), (64, 128)))
    assert {"training.accumulate=2", REMAT, "training.batch_size=16"} <= found.keys()
    assert compile_once(four_each("training.accumulate=2"), (64, 128)).peak < 0.8 * now
    assert max(found.values()) <= now / 2**20 + 0.5
