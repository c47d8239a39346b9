"""What no recorded number says of YOLACT: caps, crowds, devices, canvases, what is refused."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax import config as config_lib
from solojax.heads import yolact_targets
from solojax.heads.anchors import Anchors
from solojax.heads.box_selection import BoxSelection, Predictions, select
from solojax.heads.rescoring import rescore
from solojax.heads.yolact import YOLACT, Outputs
from solojax.heads.yolact_targets import Matching, make_targets, shrink
from solojax.models.detector import Detector
from solojax.ops import matching
from solojax.training import optimizer, step
from solojax.types import InputError, Instances
from tests import examples
from tests.heads.stranger import Neither

ANCHORS = Anchors(levels=("p3", "p4"), scales=((16,), (32,)), ratios=(1,))
HEAD = YOLACT(
    num_classes=3,
    anchors=ANCHORS,
    width=8,
    prototype_width=8,
    prototypes=4,
    rescoring_widths=(4,),
    max_masks=40,
    selection=BoxSelection(max_candidates=40, nms_candidates=20, max_detections=10),
)


class Levels(nn.Module):
    """A backbone that costs nothing to compile."""

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        fine = nn.avg_pool(nn.Dense(8)(images), (8, 8), (8, 8))
        return {"p3": fine, "p4": nn.avg_pool(fine, (2, 2), (2, 2))}

    def is_frozen(self, path: tuple[str, ...]) -> bool:
        return False


def instances(size: int = 8) -> Instances:
    given = examples.make_instances(size)
    whole = np.repeat(np.repeat(given.masks[4], 4, axis=2), 4, axis=3)
    return given._replace(masks={1: whole})


@functools.cache
def first_step(devices: int, head: YOLACT = HEAD):
    """Metrics and parameters after a step of plain gradient descent."""
    model = Detector(Levels(), Neither(), head)
    tx = optimizer.make_optimizer(config_lib.Optimizer(clip_norm=0), lambda _: 0.01, model)
    update = jax.vmap(
        step.make_update(model, tx, seed=0), (None, 0), axis_name=step.AXIS, out_axes=None
    )
    batch, truth = examples.make_batch(8), instances()
    batch = batch._replace(
        instances=truth._replace(masks={1: np.packbits(truth.masks[1], axis=-1)})
    )
    variables = jax.jit(model.init)(jax.random.key(1), jnp.zeros((1, 64, 64, 3)))
    state = step.start_state(variables, tx, ema=False)
    shared = jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)
    state, metrics = jax.jit(update)(state, shared)
    return metrics, state.params


@pytest.mark.slow
def test_one_device_and_four_take_the_same_step():
    metrics, params = first_step(1)
    others, same = first_step(4)
    assert metrics["positives"] > 1
    assert {"box", "class", "mask", "semantic", "rescoring"} < metrics.keys()
    for name, value in metrics.items():
        np.testing.assert_allclose(others[name], value, rtol=1e-5, err_msg=name)
    for one, other in zip(*map(jax.tree.leaves, (params, same)), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)


def test_masks_beyond_the_cap_are_drawn_counted_and_made_up_for():
    everything, few = (
        jax.jit(lambda key, head=head: head.targets(instances(), key))(jax.random.key(0))
        for head in (HEAD, HEAD.clone(max_masks=2))
    )
    by_image = np.sum(np.asarray(everything.labels) > 0, 1)
    assert by_image.max() > 2
    np.testing.assert_array_equal(everything.labels, few.labels)
    assert everything.metrics["dropped_masks"].total == 0
    assert few.metrics["dropped_masks"].total == np.maximum(by_image - 2, 0).sum()
    np.testing.assert_allclose(few.positives.weights, np.maximum(by_image / 2, by_image > 0))
    assert (np.asarray(few.positives.valid).sum(1) == np.minimum(by_image, 2)).all()
    assert few.positive_count == everything.positive_count == by_image.sum()


def test_an_anchor_in_a_crowd_is_neutral_and_a_crowd_no_instance():
    given = instances(1)
    boxes = np.array([[[0, 0, 16, 16], [32, 32, 64, 64], [0, 0, 0, 0]]], np.float32)
    masks = np.zeros((1, 3, 64, 64), np.uint8)
    masks[0, 1] = 1
    given = given._replace(
        masks={1: masks},
        boxes=boxes,
        valid=np.array([[True, False, False]]),
        crowd=np.array([[False, True, False]]),
    )
    targets = jax.jit(HEAD.targets)(given, jax.random.key(0))
    kinds = np.minimum(targets.labels[0][:64], 1).reshape(8, 8)
    assert (kinds[5:7, 5:7] == matching.NEUTRAL).all()
    assert (kinds[:4, 5:] == matching.NEGATIVE).all() and kinds[:2, :2].max() == 1
    assert not targets.semantic.any()
    without = jax.jit(HEAD.targets)(given._replace(crowd=None), jax.random.key(0))
    assert (np.asarray(without.labels) != matching.NEUTRAL).sum() > (kinds >= 0).sum()


@pytest.mark.parametrize("size", [(16, 16), (9, 12)])
def test_masks_are_shrunk_by_the_four_pixels_around_each_new_one(size):
    masks = np.random.default_rng(0).integers(0, 2, (1, 2, 64, 64)).astype(np.uint8)
    resized = jax.image.resize(masks.astype(np.float32), (1, 2, *size), "bilinear", antialias=False)
    np.testing.assert_array_equal(shrink(jnp.asarray(masks), size), resized > 0.5)


def outputs(side: int) -> Outputs:
    count = len(ANCHORS.boxes((8 * side, 8 * side)))
    shapes = ((count, 4), (count, 4), (count, 4), (2 * side, 2 * side, 4), (side, side, 3))
    zeros = (jnp.zeros((1, *shape)) for shape in shapes)
    return Outputs(*zeros, rescoring=())


def test_a_surplus_of_candidates_is_counted_and_boxes_are_in_pixels():
    head = HEAD.clone(rescoring_widths=())
    some = outputs(8)
    logits = some.class_logits.at[..., 1].set(9.0)
    found = jax.jit(head.detect)(some._replace(class_logits=logits))
    assert found.overflow == 80 - 40  # anchors, and those that are looked at
    best = np.asarray(found.boxes[0])[np.asarray(found.valid[0])]
    assert len(best) == 10
    np.testing.assert_allclose(best[0], [-4, -4, 12, 12], atol=1e-4)


def test_a_canvas_that_is_no_multiple_of_eight_must_be_given():
    given = instances(1)
    odd = given._replace(masks={1: given.masks[1][..., :60]})
    with pytest.raises(InputError, match=r"head.anchors.canvas=None: the images' is \(64, 60\)"):
        make_targets(ANCHORS, Matching(), odd, jax.random.key(0), num_classes=3, max_masks=4)
    fixed = HEAD.clone(anchors=Anchors(("p3", "p4"), ((16,), (32,)), (1,), canvas=(64, 60)))
    labels = jax.eval_shape(fixed.targets, odd, jax.random.key(0)).labels
    assert labels.shape == (1, 8 * 8 + 4 * 4)
    with pytest.raises(InputError, match="gives p3 a size of .8, 8., the images one of .16, 16."):
        jax.eval_shape(fixed.detect, outputs(16))


def test_rescoring_needs_masks_that_its_convolutions_leave_something_of():
    layers = tuple((jnp.zeros((3, 3, 1, 1)), jnp.zeros(1)) for _ in range(4))
    with pytest.raises(InputError, match="3 convolutions of stride 2 leave nothing of masks of 12"):
        rescore(layers, jnp.zeros((2, 12, 12)))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Anchors(levels=("p4", "p3")), "levels=.* must be some of p2, p3"),
        (lambda: Anchors(scales=((1,),)), "scales has 1 entries for the 5 levels"),
        (lambda: Anchors(levels=("p3", "p4"), scales=((1,), (1, 2))), "as many scales as every"),
        (lambda: Anchors(ratios=(1, 0)), "must be above 0"),
        (lambda: Matching(positive_iou=0.3), "negative_iou=0.4 must be at most positive_iou=0.3"),
        (lambda: BoxSelection(max_candidates=10), "max_candidates=10 must be at least nms_cand"),
        (lambda: YOLACT(max_masks=0), "head.max_masks=0 must be at least 1"),
    ],
)
def test_what_cannot_work_is_refused(make, said):
    with pytest.raises(InputError, match=said):
        make()


@pytest.mark.parametrize("side", [138, 400])
def test_shares_are_true_quotients(side):
    places = np.arange(side + 1, dtype=np.float32)
    boxes = np.stack([places, places[::-1], places, places[::-1]], -1)[None]
    found = jax.jit(yolact_targets._shares, static_argnums=1)(boxes, (side, side))
    np.testing.assert_array_equal(found, boxes / np.float32(side))


def test_a_box_that_no_number_holds_is_not_found():
    selection = BoxSelection(max_candidates=2, nms_candidates=2, max_detections=2)
    anchors = jnp.array([[0.5, 0.5, 0.2, 0.2]] * 2)
    code = jnp.zeros((1, 2, 4)).at[0, 0, 2:].set(500)
    predictions = Predictions(
        code, jnp.zeros((1, 2, 3)).at[:, :, 1].set(5), jnp.ones((1, 2, 1)), jnp.ones((1, 8, 8, 1))
    )
    found = jax.jit(lambda given: select(selection, anchors, (32, 32), given, None))(predictions)
    # The other one, as either class.
    np.testing.assert_allclose(found.boxes[0], [[12.8, 12.8, 19.2, 19.2]] * 2, rtol=1e-5)
    assert np.isfinite(found.boxes).all() and np.isfinite(found.masks).all()


def test_prototypes_that_would_be_too_coarse_are_refused():
    with pytest.raises(InputError, match="head.enlarge_prototypes=False .* p3, coarser"):
        YOLACT(enlarge_prototypes=False)
