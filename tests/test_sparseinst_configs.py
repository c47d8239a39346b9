"""The SparseInst configs in configs/: that each is the published row."""

from typing import NamedTuple

import numpy as np
import pytest

from solojax.config import Augmentation
from solojax.heads.matching import Objective
from tests.test_configs import (
    CONFIGS,
    PARAMETERS,
    RESULTS,
    check_canvases,
    each_usual_size,
    frozen_parameters,
    load,
)


class Row(NamedTuple):
    """A published SparseInst: what makes it, and what github.com/hustvl/SparseInst says of it."""

    variant: str
    deform: str
    activation: str
    short_side: int  # in testing
    crops: bool
    ap: float  # val2017
    fps: float | None  # 2080 Ti


ROWS = {
    "sparseinst_r50": Row("b", "none", "single", 640, False, 32.8, 44.3),
    "sparseinst_r50vd": Row("d", "none", "single", 640, False, 34.1, 42.6),
    "sparseinst_r101": Row("b", "none", "group", 640, False, 34.9, None),
    "sparseinst_r101_dcn": Row("b", "v1", "group", 640, False, 36.4, None),
    "sparseinst_r50_giam": Row("b", "none", "group", 608, False, 33.4, 44.6),
    "sparseinst_r50_giam_softmax": Row("b", "none", "group_softmax", 608, False, 33.6, 44.6),
    "sparseinst_r50_giam_aug": Row("b", "none", "group", 608, True, 34.2, 44.6),
    "sparseinst_r50_dcn_giam_aug": Row("b", "v1", "group", 608, True, 36.4, 41.6),
    "sparseinst_r50vd_giam_aug": Row("d", "none", "group", 608, True, 35.6, 42.8),
    "sparseinst_r50vd_dcn_giam_aug": Row("d", "v1", "group", 608, True, 37.4, 40.0),
}
each_row = pytest.mark.parametrize("name", ROWS)


@each_row
def test_a_config_is_that_of_its_row(name):
    row, config = ROWS[name], load(name)
    backbone, head = config.model.backbone, config.model.head
    assert backbone.depth == int(name.split("_")[1].removesuffix("vd")[1:])
    assert (backbone.variant, backbone.deform) == (row.variant, row.deform)
    assert (backbone.norm, backbone.frozen_stages) == ("frozen", 0)
    assert row.deform == "none" or backbone.deform_stages == (3, 4)
    assert (head.activation, head.slots, head.num_classes) == (row.activation, 100, 80)
    assert (head.groups, head.norm_groups, head.kernel_width) == (4, 0, 128)
    assert (head.width, head.depth, head.mask_width, head.mask_depth) == (256, 4, 256, 4)
    assert (head.score_threshold, head.mask_threshold) == (0.005, 0.45)
    assert head.objective == Objective(
        dice_power=0.8,
        class_power=0.2,
        category_weight=2,
        focal_alpha=0.25,
        focal_gamma=2,
        mask_weight=5,
        dice_weight=2,
        objectness_weight=1,
        iou_threshold=0.4,
    )
    neck = config.model.neck
    assert (neck.width, neck.pools, neck.pool_width) == (256, (1, 2, 3, 6), 64)

    data, optimizer, training = config.data, config.optimizer, config.training
    assert (data.test_short_side, data.long_side) == (
        row.short_side,
        {640: 853, 608: 864}[row.short_side],
    )
    assert data.train_short_sides == tuple(range(416, 641, 32))
    crops = 0.5 if row.crops else 0
    assert data.augmentation == Augmentation(flip_probability=0.5, crop_probability=crops)
    assert (optimizer.algorithm, optimizer.learning_rate) == ("adamw", 5e-5)
    assert (optimizer.weight_decay, optimizer.clip_norm) == (0.05, 0)
    assert (optimizer.warmup_steps, optimizer.warmup_factor) == (1000, 1e-3)
    assert training.batch_size == optimizer.base_batch_size == 64
    epoch = 118_287 / training.batch_size  # of the images of train2017
    assert (training.steps, optimizer.schedule, optimizer.ema_decay) == (0, "step", 0)
    np.testing.assert_allclose(training.epochs * epoch, 270_000, rtol=1e-3)
    assert optimizer.decay_norms and optimizer.decay_biases
    assert not optimizer.rate_factors and not optimizer.undecayed
    drops = np.array(optimizer.drop_epochs) * epoch
    np.testing.assert_allclose(drops, (210_000, 250_000), rtol=1e-3)


@each_row
def test_docstring_and_results_give_the_published_numbers(name):
    row = ROWS[name]
    text = " ".join(CONFIGS[name].read_text().split())
    assert f"Published: {row.ap} mask AP on val2017" in text
    assert row.fps is None or f" {row.fps} images a second on a 2080 Ti" in text
    trained = PARAMETERS[name] - frozen_parameters(name)
    assert f"{PARAMETERS[name]:,} parameters, {trained:,} of them trained." in text
    assert f"\n| `{name}` | {row.ap} | {row.fps or '–'} |" in RESULTS


@each_row
@each_usual_size
def test_canvases_suit_the_usual_images(name, size):
    check_canvases(load(name).data, size)
