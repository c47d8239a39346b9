"""Decoupled SOLO, full and light: parity with recorded heads, its product of maps."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax import convert
from solojax.heads.decoupled_solo import DecoupledSOLO
from solojax.heads.grid import Grid, flatten
from solojax.heads.selection import Selection
from solojax.types import Instances
from tests.heads import recorded
from tests.heads.recorded import value

HEAD = DecoupledSOLO(
    num_classes=5,
    grid=recorded.GRID,
    width=20,
    groups=4,
    selection=Selection(nms_candidates=40, max_detections=15),
)
LIGHT = HEAD.clone(shared_trunk=True, depth=4)


HEADS = {"decoupled_solo": HEAD, "decoupled_solo_light": LIGHT}


class Case(NamedTuple):
    """A recorded head, and what ours makes of the same features."""

    numbers: recorded.Numbers  # with a backbone and a neck of another model, which take no part
    head: DecoupledSOLO
    found: recorded.Found


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow) for name in HEADS],
)
def case(request, tiny_decoupled_solo, tiny_solo) -> Case:
    head, prefix = HEADS[request.param], f"{request.param}/"
    numbers = {
        name: array
        for name, array in tiny_solo.items()
        if name.startswith(("params/backbone.", "params/neck.")) or "tgt" in name
    }
    for name, array in tiny_decoupled_solo.items():
        if name.startswith(prefix):
            numbers[name.removeprefix(prefix)] = array
        elif name.startswith(("gt", "meta/")):
            numbers[name] = array
    pyramid = {
        f"p{i + 2}": jnp.asarray(recorded.nhwc(tiny_decoupled_solo[f"feat/fpn{i}"]), jnp.float32)
        for i in range(5)
    }
    loaded = convert.load_state_dict(recorded.state_dict(numbers), recorded.detector(head))
    variables = {"params": loaded["params"]["head"]}
    given = recorded.instances(numbers, head.mask_strides)
    return Case(numbers, head, recorded.run(head, head, variables, pyramid, given))


def test_outputs_equal_the_recorded_ones(case):
    for i, level in enumerate(case.head.grid.levels):
        for name, found in (
            ("mask_x", case.found.outputs.x_logits),
            ("mask_y", case.found.outputs.y_logits),
            ("cls", case.found.outputs.category_logits),
        ):
            recorded.check_channels(case.numbers, f"train/{name}{i}", found[level])


def test_losses_and_gradients_equal_the_recorded_ones(case):
    mask, category = (value(case.found.terms[name]) for name in ("mask", "category"))
    np.testing.assert_allclose(mask, case.numbers["loss/loss_mask"], rtol=1e-5)
    np.testing.assert_allclose(category, case.numbers["loss/loss_cls"], rtol=1e-5)
    model = recorded.detector(case.head)
    recorded.check_gradients(case.numbers, model, {"head": case.found.gradients})


@pytest.mark.parametrize("b", [0, 1])
def test_detections_equal_the_recorded_ones(case, b):
    recorded.check_detections(case.numbers, case.found.detections, b)


def test_its_targets_are_those_recorded_of_solo_whose_grid_it_shares(case):
    targets = case.found.targets
    recorded.check_labels(case.numbers, targets)
    for level, (positives, masks) in enumerate(
        zip(targets.cells.positives, targets.masks, strict=True)
    ):
        for b in range(2):
            valid = np.asarray(positives.valid[b])
            order = np.argsort(np.asarray(positives.cells[b])[valid])
            found = np.asarray(masks[b])[valid][order]
            recorded.check_mask_targets(case.numbers, b, level, found)


SMALL = DecoupledSOLO(
    num_classes=3,
    grid=Grid(
        levels=("p2", "p4"), strides=(8, 16), sizes=(4, 3), scale_ranges=((1, 48), (24, 200))
    ),
    width=8,
    depth=2,
    groups=4,
    max_positives=9,
    selection=Selection(
        score_threshold=0.01, max_candidates=60, nms_candidates=40, max_detections=20
    ),
)


def pyramid(seed: int = 0) -> dict[str, jax.Array]:
    rng = np.random.default_rng(seed)
    return {
        f"p{i}": jnp.asarray(rng.normal(0, 1, (2, 64 // 2**i, 96 // 2**i, 8)), jnp.float32)
        for i in (2, 3, 4)
    }


@pytest.fixture(scope="module")
def predict() -> Any:
    return jax.jit(SMALL.apply)


@pytest.fixture(scope="module")
def outputs(predict) -> Any:
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(SMALL.init, jax.random.key(0), pyramid())
    params = jax.tree.map(lambda x: rng.normal(0, 0.5, x.shape).astype(np.float32), shapes)
    return predict(params, pyramid())


def test_the_x_branch_sees_columns_and_the_y_branch_rows(predict):
    flat = jax.tree.map(jnp.zeros_like, pyramid())
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(SMALL.init, jax.random.key(0), flat)

    def fill(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        filled = np.full(leaf.shape, path[-1].key == "scale", np.float32)
        if path[-1].key == "kernel":
            # Nothing but the coordinate comes in, and only through the middle of the 3x3 window.
            filled[1, 1] = rng.normal(size=leaf.shape[2:])
        return filled

    outputs = predict(jax.tree.map_with_path(fill, shapes), flat)
    x, y = outputs.x_logits["p2"][0], outputs.y_logits["p2"][0]
    assert x.shape == (16, 24, 4)
    assert np.ptp(np.asarray(x), axis=0).max() < 1e-4 < np.ptp(np.asarray(x), axis=1).max()
    assert np.ptp(np.asarray(y), axis=1).max() < 1e-4 < np.ptp(np.asarray(y), axis=0).max()


@jax.jit
def train(outputs: Any, given: Instances) -> tuple[Any, Any, Any]:
    """Targets, gradients of the outputs and terms of the loss."""
    targets = SMALL.targets(given, jax.random.key(0))

    def loss(outputs: Any) -> Any:
        terms = SMALL.loss(outputs, targets)
        return value(terms["category"]) + value(terms["mask"]), terms

    gradients, terms = jax.grad(loss, has_aux=True)(outputs)
    return targets, gradients, terms


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def test_a_mask_is_the_product_of_its_row_and_its_column_in_the_loss(outputs):
    rng = np.random.default_rng(1)
    boxes = np.array([[[4, 4, 40, 36], [30, 10, 90, 60]], [[10, 20, 34, 50], [0, 0, 90, 64]]])
    given = Instances(
        masks={
            stride: jnp.asarray(rng.integers(0, 2, (2, 2, 64 // stride, 96 // stride)), jnp.uint8)
            for stride in (4, 8)
        },
        boxes=jnp.asarray(boxes, jnp.float32),
        centers=jnp.asarray((boxes[..., :2] + boxes[..., 2:]) / 2, jnp.float32),
        labels=jnp.array([[0, 1], [2, 1]], jnp.int32),
        valid=jnp.ones((2, 2), bool),
    )
    assert SMALL.mask_strides == (4, 8)
    targets, _, terms = train(outputs, given)
    losses, count = 0.0, 0
    for level, (name, side) in enumerate(zip(SMALL.grid.levels, SMALL.grid.sizes, strict=True)):
        owners = np.asarray(targets.cells.owners)[:, SMALL.grid.starts[level] :][:, : side**2]
        for b in range(2):
            for cell in np.flatnonzero(owners[b] >= 0):
                row, column = divmod(int(cell), side)
                p = sigmoid(outputs.y_logits[name][b, :, :, row])
                p = p * sigmoid(outputs.x_logits[name][b, :, :, column])
                t = np.asarray(given.masks[SMALL.mask_strides[level]][b, owners[b, cell]])
                losses += 1 - 2 * (p * t).sum() / ((p * p).sum() + (t * t).sum() + 2e-3)
                count += 1
    assert terms["mask"].count == count > 8
    np.testing.assert_allclose(value(terms["mask"]), 3 * losses / count, rtol=1e-5)


def test_detected_masks_are_products_taken_after_the_resize_to_stride_4(outputs):
    found = jax.jit(SMALL.detect)(outputs)
    assert found.masks.shape == (2, 20, 16, 24)
    soft = []
    for name, side in zip(SMALL.grid.levels, SMALL.grid.sizes, strict=True):
        x, y = (
            jax.image.resize(
                jax.nn.sigmoid(logits[name]), (2, 16, 24, side), "bilinear", antialias=False
            )
            for logits in (outputs.x_logits, outputs.y_logits)
        )
        soft.append(jnp.einsum("bhwi,bhwj->bijhw", y, x).reshape(2, side * side, 16, 24))
    soft = np.concatenate(soft, 1)
    for b in range(2):
        assert found.valid[b].any()
        for k in np.flatnonzero(found.valid[b]):
            distances = np.abs(soft[b] - np.asarray(found.masks[b, k])).max((1, 2))
            cell = int(distances.argmin())
            assert distances[cell] < 1e-6
            probability = jax.nn.sigmoid(flatten(outputs.category_logits))[b, cell]
            # Points NMS and Matrix NMS only lower it.
            assert found.scores[b, k] <= probability[found.labels[b, k]] + 1e-6


def test_without_instances_the_mask_loss_is_zero_and_gradients_are_finite(outputs):
    given = Instances(
        masks={s: jnp.zeros((2, 2, 64 // s, 96 // s), jnp.uint8) for s in (4, 8)},
        boxes=jnp.zeros((2, 2, 4)),
        centers=jnp.zeros((2, 2, 2)),
        labels=jnp.zeros((2, 2), jnp.int32),
        valid=jnp.zeros((2, 2), bool),
    )
    _, gradients, terms = train(outputs, given)
    assert value(terms["mask"]) == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
