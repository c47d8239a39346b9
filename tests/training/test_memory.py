import math
import re
from pathlib import Path

import jax
import pytest

from solojax import config as config_lib
from solojax.data import coco, pipeline, synthetic
from solojax.heads.grid import Grid
from solojax.training import memory
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


@pytest.mark.slow
def test_memory_counts_state_and_batch_exactly():
    need = memory.step_memory(small_config(), (64, 128))
    parameters = sum(
        leaf.size for leaf in jax.tree.leaves(jax.eval_shape(lambda: examples.make_variables(1)))
    )
    # float32 parameters and momentum, two counters; one of the batch's eight images.
    assert need.state == 2 * 4 * parameters + 2 * 4
    one = memory.abstract_batch(small_config(), (64, 128), 1)
    assert need.batch == sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(one))
    # The output of the stem's convolution is kept for the backward pass.
    assert need.temporary > 32 * 64 * 8 * 4
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
