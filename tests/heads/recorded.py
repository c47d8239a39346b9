"""The recorded tiny models: how they are built and what each of them is compared with."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util

from solojax import convert
from solojax.config import Optimizer
from solojax.data import transforms
from solojax.heads.grid import Grid
from solojax.models.detector import Detector
from solojax.models.fpn import FPN
from solojax.models.resnet import ResNet
from solojax.ops import masks
from solojax.training import optimizer
from solojax.training.packing import Packing
from solojax.types import Detections, Instances, Mean
from tests import examples

Numbers = dict[str, np.ndarray]

CANVAS = (128, 160)
GRID = Grid(
    sizes=(12, 10, 8, 6, 4),
    scale_ranges=((1, 24), (12, 48), (24, 96), (48, 192), (96, 512)),
)


def detector(head: Any) -> Detector:
    return Detector(backbone=ResNet(50, width=8), neck=FPN(16), head=head)


def nhwc(array: np.ndarray) -> np.ndarray:
    return array.transpose(0, 2, 3, 1)


def check_channels(numbers: Numbers, name: str, found: jax.Array) -> None:
    """``found``, NHWC, against what is recorded of its channels, NCHW, to 1e-4."""
    for every, ending in ((1, ""), (4, "_every_4th"), (8, "_every_8th")):
        if name + ending in numbers:
            expected = nhwc(numbers[name + ending])
            np.testing.assert_allclose(found[..., ::every], expected, rtol=1e-4, atol=1e-4)
            return
    raise KeyError(name)


def state_dict(numbers: Numbers) -> Numbers:
    prefix = "params/"
    return {k.removeprefix(prefix): v for k, v in numbers.items() if k.startswith(prefix)}


def instances(numbers: Numbers, mask_strides: tuple[int, ...]) -> Instances:
    """The recorded ground truth through our own pipeline's functions."""
    each = []
    for b in range(2):
        size = tuple(int(side) for side in numbers["meta/img_shape"][b])
        placed, dropped = examples.place_instances(
            numbers[f"gt{b}/masks"],
            numbers[f"gt{b}/bboxes"],
            numbers[f"gt{b}/labels"],
            transforms.Placement(size, size),
            CANVAS,
            max_instances=8,
            mask_strides=mask_strides,
        )
        assert not dropped
        each.append(placed)
    return jax.tree.map(lambda *parts: jnp.stack(parts), *each)


def no_instances(given: Instances) -> Instances:
    """The first image, without what is in it."""
    first = jax.tree.map(lambda x: x[:1], given)
    return first._replace(valid=jnp.zeros_like(first.valid))


def value(term: Mean, count: float | None = None) -> jax.Array:
    return term.total / jnp.maximum((count or term.count) + term.prior, 1)


def check_mask_targets(numbers: Numbers, b: int, level: int, found: np.ndarray) -> None:
    """``found`` in the recorded order, all bits."""
    count, _, width = numbers[f"tgt{b}/lvl{level}/mask_targets_shape"]
    packed = numbers[f"tgt{b}/lvl{level}/mask_targets"]
    assert len(found) == count
    np.testing.assert_array_equal(found, np.unpackbits(packed, axis=-1)[..., :width])


def check_labels(numbers: Numbers, targets: Any) -> None:
    for level, (start, side) in enumerate(zip(GRID.starts[:-1], GRID.sizes, strict=True)):
        for b in range(2):
            labels = np.asarray(targets.cells.labels[b, start : start + side**2])
            recorded = numbers[f"tgt{b}/lvl{level}/labels"]
            np.testing.assert_array_equal(labels.reshape(side, side), recorded)


class Found(NamedTuple):
    """What a network and its head make of a recorded batch."""

    features: dict[str, Any]  # by the name of the part: what a backbone and a neck give
    outputs: Any
    targets: Any
    terms: dict[str, Mean]
    gradients: Any  # None where none are asked for
    detections: Detections


def run(
    network: Any,
    head: Any,
    variables: dict[str, Any],
    inputs: Any,
    given: Instances,
    mask_count: float | None = None,
    *,
    gradients: bool = True,
) -> Found:
    """All of it by one program: each of them anew would compile the network again."""

    @jax.jit
    def once(variables: Any, inputs: Any, given: Instances) -> Found:
        targets = head.targets(given, jax.random.key(0))

        def loss(params: Any) -> Any:
            outputs, state = network.apply(
                {**variables, "params": params},
                inputs,
                capture_intermediates=lambda part, _: part.name in ("backbone", "neck"),
            )
            terms = head.loss(outputs, targets)
            total = value(terms["mask"], mask_count) + value(terms["category"])
            return total, (state.get("intermediates", {}), outputs, terms)

        params, found = variables["params"], None
        if gradients:
            found, (parts, outputs, terms) = jax.grad(loss, has_aux=True)(params)
        else:
            _, (parts, outputs, terms) = loss(params)
        features = {name: part["__call__"][0] for name, part in parts.items()}
        return Found(features, outputs, targets, terms, found, head.detect(outputs))

    return once(variables, inputs, given)


class Alone(NamedTuple):
    """What a head makes of the outputs for one image."""

    terms: dict[str, Mean]
    gradients: Any  # of the outputs
    detections: Detections


def one_by_one(head: Any, found: Found, given: Instances) -> dict[str, Alone]:
    """Of both images of a batch, and of "nothing": the first without what is in it."""

    @jax.jit
    def once(outputs: Any, given: Instances) -> Alone:
        targets = head.targets(given, jax.random.key(0))

        def loss(outputs: Any) -> Any:
            terms = head.loss(outputs, targets)
            return value(terms["category"]) + value(terms["mask"]), terms

        gradients, terms = jax.grad(loss, has_aux=True)(outputs)
        return Alone(terms, gradients, head.detect(outputs))

    def image(tree: Any, b: int) -> Any:  # a layer's rows belong to all images
        return jax.tree.map(lambda x: x[b : b + 1] if len(x) == 2 else x, tree)

    alone = {str(b): once(image(found.outputs, b), image(given, b)) for b in range(2)}
    return {**alone, "nothing": once(image(found.outputs, 0), no_instances(given))}


def check_gradients(numbers: Numbers, model: Detector, gradients: Any) -> None:
    """Every recorded gradient to a relative norm of 1e-4; those not recorded are frozen: zero.

    Of a head alone where nothing else is in ``gradients``.
    """
    expected = {}  # NaN where only every 4th number is recorded
    for name, array in state_dict(numbers).items():
        whole, every_4th = numbers.get(f"grad/{name}"), numbers.get(f"grad_every_4th/{name}")
        if every_4th is not None:
            whole = np.full(array.size, np.nan, np.float32)
            whole[::4] = every_4th
        expected[name] = (np.zeros_like(array) if whole is None else whole).reshape(array.shape)
    # Through the converter, so that names and layouts are those of the parameters.
    expected = traverse_util.flatten_dict(convert.load_state_dict(expected, model)["params"])
    for path, found in traverse_util.flatten_dict(gradients).items():
        assert np.isfinite(found).all(), path
        recorded = np.isfinite(expected[path])
        error = np.linalg.norm((np.asarray(found) - expected[path])[recorded])
        assert error <= 1e-4 * np.linalg.norm(expected[path][recorded]) + 1e-9, path


class Trajectory(NamedTuple):
    """Five steps of SGD."""

    rows: list[list[float]]  # of each step: loss of the masks, of the categories, gradient norm
    gradients: Any  # of the first step
    params: Any  # after the last


def train(
    model: Detector,
    variables: dict[str, Any],
    image: jax.Array,
    targets: Any,
    mask_count: float | None = None,
) -> Trajectory:
    """In float64: in float32 a rounding that moves a value across a ReLU's corner changes a
    gradient norm by up to 5e-3.
    """
    published = Optimizer(
        learning_rate=0.01, base_batch_size=2, warmup_steps=0, drop_epochs=(1000,), clip_norm=35
    )
    schedule = optimizer.make_schedule(published, batch_size=2, steps=5, steps_per_epoch=1)
    tx = optimizer.make_optimizer(published, schedule, model)
    with jax.enable_x64(True):
        variables, image = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), (variables, image))

        start = variables["params"]
        packing = Packing(start, tx.kinds)

        # What is closed over would be constants: many of them take long to compile.
        @jax.jit
        def step(params, opt_state, variables, image, targets):
            def loss(params):
                outputs = model.apply({**variables, "params": params}, image)
                terms = model.head.loss(outputs, targets)
                parts = value(terms["mask"], mask_count), value(terms["category"])
                return sum(parts), parts

            gradients, parts = jax.grad(loss, has_aux=True)(params)
            packed, before, rule = packing.pack((gradients, params, opt_state))
            updates, rule = tx.update(packed, rule, before)
            after = optax.apply_updates(before, updates), rule
            params, opt_state = packing.unpack(after, like=(params, opt_state))
            return params, opt_state, (*parts, optax.tree.norm(packed)), gradients

        params, opt_state, rows, first = start, tx.init(start), [], None
        for _ in range(5):
            params, opt_state, row, gradients = step(params, opt_state, variables, image, targets)
            rows.append([float(x) for x in row])
            first = first or gradients
    return Trajectory(rows, first, params)


def check_trajectory(
    numbers: Numbers, variables: dict[str, Any], found: Trajectory, exact: int = 5
) -> None:
    """Losses and gradient norms of five steps of SGD; ``exact`` of them to 2e-6.

    The recorded numbers are float32, and may hold a step over a ReLU's corner themselves.
    """
    np.testing.assert_allclose(found.rows[:exact], numbers["traj"][:exact], rtol=2e-6)
    np.testing.assert_allclose(found.rows, numbers["traj"], rtol=4e-4)
    for name in ("conv1", "bn1", "layer1_0"):
        jax.tree.map(
            np.testing.assert_array_equal,
            found.params["backbone"][name],
            variables["params"]["backbone"][name],
        )


_restore = jax.jit(masks.restore, static_argnames="output_size")


def check_detections(numbers: Numbers, detections: Any, b: int) -> None:
    """Scores to 1e-5, labels exactly, masks at the original size to 99.9 % of the pixels."""
    np.testing.assert_allclose(detections.scores[b], numbers[f"pred{b}/scores"], atol=1e-5)
    np.testing.assert_array_equal(detections.labels[b], numbers[f"pred{b}/labels"])
    height, width = (int(side) for side in numbers["meta/ori_shape"][b])
    packed = _restore(
        detections.masks[b],
        jnp.asarray(numbers["meta/img_shape"][b]),
        jnp.array([height, width]),
        output_size=(192, 256),
    )
    found = np.unpackbits(np.asarray(packed), axis=-1)[:, :height, :width]
    expected = np.unpackbits(numbers[f"pred{b}/masks"], axis=-1)[..., :width]
    assert (found == expected).mean() >= 0.999


def check_batch_is_its_images(detections: Detections, alone: Detections, b: int) -> None:
    """Detections of image ``b`` alone equal those it has in the batch."""
    np.testing.assert_allclose(alone.scores[0], detections.scores[b], atol=1e-6)
    np.testing.assert_array_equal(alone.labels[0], detections.labels[b])
    np.testing.assert_allclose(alone.masks[0], detections.masks[b], atol=1e-5)
