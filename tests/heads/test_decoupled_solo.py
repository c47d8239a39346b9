"""Decoupled SOLO, full and light: names of its weights, its product of maps, its way to masks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from solojax import convert
from solojax.heads.decoupled_solo import DecoupledSOLO
from solojax.heads.grid import Grid, flatten
from solojax.heads.selection import Selection
from solojax.models.detector import init_variables
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


def state_dict(head: DecoupledSOLO, tiny_solo: dict) -> dict[str, np.ndarray]:
    """mmdetection's names and shapes of a tiny model with this head, filled with noise."""
    rng = np.random.default_rng(0)
    named = {
        name: array
        for name, array in recorded.state_dict(tiny_solo).items()
        if name.startswith(("backbone.", "neck."))
    }

    def block(name: str, inputs: int) -> None:
        named[f"{name}.conv.weight"] = rng.normal(0, 0.1, (20, inputs, 3, 3))
        named[f"{name}.gn.weight"], named[f"{name}.gn.bias"] = rng.random(20), rng.random(20)

    def predictor(name: str, outputs: int) -> None:
        named[f"{name}.weight"] = rng.normal(0, 0.1, (outputs, 20, 3, 3))
        named[f"{name}.bias"] = rng.normal(0, 1, outputs)

    trunks = {"mask_convs": 18} if head.shared_trunk else {"mask_convs_x": 17, "mask_convs_y": 17}
    for trunk, inputs in {**trunks, "cls_convs": 16}.items():
        for i in range(head.depth):
            block(f"mask_head.{trunk}.{i}", 20 if i else inputs)
    for level, side in enumerate(head.grid.sizes):
        for axis in "xy":
            predictor(f"mask_head.conv_mask_list_{axis}.{level}", side)
    predictor("mask_head.conv_cls", 5)
    return named


@pytest.mark.parametrize("head", [HEAD, LIGHT], ids=["full", "light"])
def test_a_state_dict_of_its_names_and_shapes_fills_every_leaf(tiny_solo, head):
    model = recorded.detector(head)
    named = state_dict(head, tiny_solo)
    loaded = convert.load_state_dict(named, model)
    wanted = jax.eval_shape(lambda: init_variables(model, jax.random.key(0)))
    assert jax.tree.map(jnp.shape, loaded) == jax.tree.map(jnp.shape, wanted)
    kernel = loaded["params"]["head"]["y_predictor_p4"]["kernel"]
    expected = named["mask_head.conv_mask_list_y.2.weight"]
    np.testing.assert_allclose(kernel[1, 2, 3, 4], expected[4, 3, 1, 2])
    authors = {
        name.replace("mask_head.mask_convs", "bbox_head.ins_convs")
        .replace("mask_head.cls_convs", "bbox_head.cate_convs")
        .replace("mask_head.conv_mask_list", "bbox_head.dsolo_ins_list")
        .replace("mask_head.conv_cls", "bbox_head.dsolo_cate"): array
        for name, array in named.items()
    }
    jax.tree.map(np.testing.assert_array_equal, loaded, convert.load_state_dict(authors, model))


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
def outputs() -> Any:
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(SMALL.init, jax.random.key(0), pyramid())
    params = jax.tree.map(lambda x: rng.normal(0, 0.5, x.shape).astype(np.float32), shapes)
    return jax.jit(SMALL.apply)(params, pyramid())


def test_each_branch_is_told_one_coordinate_and_the_light_one_both():
    def first_inputs(head: DecoupledSOLO) -> dict[str, int]:
        params = jax.eval_shape(head.init, jax.random.key(0), pyramid())["params"]
        return {
            name: tree["conv_0"]["conv"]["kernel"].shape[2]
            for name, tree in params.items()
            if "trunk" in name
        }

    assert first_inputs(SMALL) == {"x_trunk": 9, "y_trunk": 9, "category_trunk": 8}
    light = first_inputs(SMALL.clone(shared_trunk=True))
    assert light == {"mask_trunk": 10, "category_trunk": 8}


def test_the_x_branch_sees_columns_and_the_y_branch_rows():
    flat = jax.tree.map(jnp.zeros_like, pyramid())
    params = SMALL.init(jax.random.key(0), flat)
    # Nothing but the coordinate comes in, and only through the middle of the 3x3 window.
    flattened = traverse_util.flatten_dict(params)
    for path, kernel in flattened.items():
        if path[-1] == "kernel":
            middle = jnp.zeros_like(kernel).at[1, 1].set(kernel[1, 1])
            flattened[path] = 100 * middle
    outputs = SMALL.apply(traverse_util.unflatten_dict(flattened), flat)
    x, y = outputs.x_logits["p2"][0], outputs.y_logits["p2"][0]
    assert x.shape == (16, 24, 4)
    assert np.ptp(np.asarray(x), axis=0).max() < 1e-4 < np.ptp(np.asarray(x), axis=1).max()
    assert np.ptp(np.asarray(y), axis=1).max() < 1e-4 < np.ptp(np.asarray(y), axis=0).max()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def test_a_mask_is_the_product_of_its_row_and_its_column_in_the_loss(outputs):
    rng = np.random.default_rng(1)
    boxes = np.array([[[4, 4, 40, 36], [30, 10, 90, 60]], [[10, 20, 34, 50], [0, 0, 90, 64]]])
    given = recorded.Instances(
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
    targets = SMALL.targets(given, jax.random.key(0))
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
    terms = SMALL.loss(outputs, targets)
    assert terms["mask"].count == count > 8
    np.testing.assert_allclose(value(terms["mask"]), 3 * losses / count, rtol=1e-5)


def test_detected_masks_are_products_taken_after_the_resize_to_stride_4(outputs):
    found = SMALL.detect(outputs)
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


def test_its_targets_are_those_recorded_of_solo_whose_grid_it_shares(tiny_solo):
    given = recorded.instances(tiny_solo, HEAD.mask_strides)
    targets = jax.jit(HEAD.targets)(given, jax.random.key(0))
    recorded.check_labels(tiny_solo, targets)
    for level, (positives, masks) in enumerate(
        zip(targets.cells.positives, targets.masks, strict=True)
    ):
        for b in range(2):
            valid = np.asarray(positives.valid[b])
            order = np.argsort(np.asarray(positives.cells[b])[valid])
            recorded.check_mask_targets(tiny_solo, b, level, np.asarray(masks[b])[valid][order])


def test_without_instances_the_mask_loss_is_zero_and_gradients_are_finite(outputs):
    given = recorded.Instances(
        masks={s: jnp.zeros((2, 1, 64 // s, 96 // s), jnp.uint8) for s in (4, 8)},
        boxes=jnp.zeros((2, 1, 4)),
        centers=jnp.zeros((2, 1, 2)),
        labels=jnp.zeros((2, 1), jnp.int32),
        valid=jnp.zeros((2, 1), bool),
    )
    targets = SMALL.targets(given, jax.random.key(0))

    def loss(outputs):
        terms = SMALL.loss(outputs, targets)
        return value(terms["category"]) + value(terms["mask"]), value(terms["mask"])

    gradients, mask = jax.grad(loss, has_aux=True)(outputs)
    assert mask == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
