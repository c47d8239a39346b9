"""The YOLACT configs in configs/: that each is the published row."""

from typing import NamedTuple

import pytest

from solojax.config import Augmentation
from solojax.heads.box_selection import BoxSelection
from solojax.heads.yolact_loss import Objective
from solojax.heads.yolact_targets import Matching
from tests.test_configs import CONFIGS, PARAMETERS, RESULTS, count, load, params_of, shapes_of


class Row(NamedTuple):
    """A published model: what makes it, and what the authors say of it."""

    depth: int
    side: int
    scales: tuple[float, ...]  # the first of each level
    anchors: int
    max_masks: int
    ap: float  # test-dev
    rate: float  # images a second, Titan Xp


LARGE = (24, 48, 96, 192, 384)
PUBLISHED = {
    "yolact_r50_550": Row(50, 550, LARGE, 19_248, 100, 28.2, 42.5),
    "yolact_r101_550": Row(101, 550, LARGE, 19_248, 100, 29.8, 33.5),
    "yolact_r101_400": Row(101, 400, (17, 34, 69, 139, 279), 10_077, 100, 24.9, 45.3),
    "yolact_r101_700": Row(101, 700, (30, 61, 122, 244, 488), 30_963, 300, 31.2, 23.4),
    "yolact_plus_r50_550": Row(50, 550, LARGE, 57_744, 100, 34.1, 33.5),
}
each_published = pytest.mark.parametrize("name", PUBLISHED)


@each_published
def test_network_is_that_of_its_row(name):
    row, model = PUBLISHED[name], load(name).model
    head, plus = model.head, "plus" in name
    assert (model.backbone.depth, model.backbone.width, head.num_classes) == (row.depth, 64, 80)
    assert (model.neck.width, head.width, head.prototype_width, head.prototypes) == (
        *(256, 256, 256),
        32,
    )
    steps = [2 ** (i / 3) for i in range(3 if plus else 1)]
    assert head.anchors.scales == tuple(tuple(s * step for step in steps) for s in row.scales)
    assert head.anchors.square != plus and head.anchors.ratios == (1, 0.5, 2)
    assert len(head.anchors.boxes((row.side, row.side))) == row.anchors
    assert head.max_masks == row.max_masks
    assert head.rescoring_widths == ((8, 16, 32, 64, 128) if plus else ())
    assert model.backbone.deform == ("v2" if plus else "none")
    assert (model.backbone.norm, model.backbone.frozen_stages) == ("sync", 0)
    assert head.objective == Objective() and head.matching == Matching()
    assert head.selection == BoxSelection() and head.mask_threshold == 0.5
    assert model.mean == (123.68, 116.78, 103.94) and model.std == (58.40, 57.12, 57.38)


@each_published
def test_recipe_is_that_of_its_row(name):
    row, config = PUBLISHED[name], load(name)
    data, optimizer = config.data, config.optimizer
    assert (data.canvases, data.resize) == (((row.side, row.side),), "stretch")
    assert config.model.canvas_multiple == 1
    assert config.model.head.anchors.canvas == data.canvases[0]
    assert (optimizer.algorithm, optimizer.learning_rate, optimizer.momentum) == ("sgd", 1e-3, 0.9)
    assert (optimizer.weight_decay, optimizer.clip_norm) == (5e-4, 0)
    assert (optimizer.warmup_steps, optimizer.warmup_factor) == (500, 0.1)
    assert config.training.batch_size == optimizer.base_batch_size == 8
    epoch_steps = -(-118_287 // 8)  # of COCO's images
    assert config.training.epochs * epoch_steps / 1000 == pytest.approx(800, abs=0.1)
    assert (config.training.steps, optimizer.schedule, optimizer.ema_decay) == (0, "step", 0)
    assert optimizer.decay_norms and optimizer.decay_biases and not optimizer.rate_factors
    assert data.augmentation == Augmentation(
        flip_probability=0.5, color_probability=0.5, crop_probability=1
    )
    drops = [epoch * epoch_steps / 1000 for epoch in optimizer.drop_epochs]
    assert drops == pytest.approx([280, 600, 700, 750], abs=0.1)


@each_published
def test_published_numbers_are_given(name):
    row = PUBLISHED[name]
    text = " ".join(CONFIGS[name].read_text().split())
    assert f"Published: {row.ap} mask AP on test-dev, {row.rate} images a second on a Tit" in text
    assert f"{PARAMETERS[name]:,} parameters" in text
    assert f"training.pretrained=resnet{row.depth}.npz" in text
    assert f"\n| `{name}` | {row.ap} | {row.rate} |" in RESULTS


def test_parameter_counts_of_the_parts_that_the_authors_give():
    head = params_of("yolact_plus_r50_550")["head"]
    assert (count(head["semantic_predictor"]), count(head["rescoring"])) == (20_560, 108_560)
    model = load("yolact_r50_550").model
    pascal = model.clone(head=model.head.clone(num_classes=20))
    assert count(shapes_of(pascal)) == 30_734_623
