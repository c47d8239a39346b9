"""Parity with the recorded tiny SparseInsts, from features to masks."""

import contextlib
import json
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from flax import traverse_util

from solojax import convert
from solojax.heads import matching, sparseinst
from solojax.heads.sparseinst import SparseInst
from solojax.models.context import ContextEncoder
from solojax.models.detector import Detector
from solojax.ops import masks, pick
from solojax.types import Detections, InputError, Instances, Mean
from tests.conftest import FIXTURES
from tests.heads import recorded
from tests.heads.recorded import Numbers, nhwc, value

FILES = sorted(FIXTURES.glob("tiny_sparseinst*.npz"))
ACTIVATIONS = {
    "BaseIAMDecoder": "single",
    "GroupIAMDecoder": "group",
    "GroupIAMSoftDecoder": "group_softmax",
}
TERMS = {"category": "ce", "mask": "mask", "dice": "dice", "objectness": "objectness"}
# Behind these a ReLU of the group's file is given 7e-7, where others are given up to 6.7: whether a
# gradient passes is rounding, and either side is right. The next is 1e-4.
KINK = ("head", "mask_trunk", "conv_2", "conv", "bias")
LEVELS = {"c3": "res3", "c4": "res4", "c5": "res5"}


class Handed(nn.Module):
    """A backbone without parameters: the recorded features are of none."""

    channels: tuple[int, ...]

    def __call__(self, images: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        batch, height, width, _ = images.shape
        return {
            f"c{n}": jnp.zeros((batch, height >> n, width >> n, channels))
            for n, channels in enumerate(self.channels, start=3)
        }


def model_of(settings: dict[str, Any]) -> Detector:
    """The network of a recorded file, by its settings."""
    weights = settings["weights"]
    head = SparseInst(
        num_classes=settings["num_classes"],
        slots=settings["num_masks"],
        activation=ACTIVATIONS[settings["decoder"]],
        groups=settings["groups"],
        width=settings["inst_dim"],
        depth=settings["num_convs"],
        mask_width=settings["mask_dim"],
        mask_depth=settings["num_convs"],
        kernel_width=settings["kernel_dim"],
        objective=matching.Objective(
            dice_power=settings["alpha"],
            class_power=settings["beta"],
            category_weight=weights["ce"],
            mask_weight=weights["mask"],
            dice_weight=weights["dice"],
            objectness_weight=weights["objectness"],
        ),
        score_threshold=settings["cls_threshold"],
        mask_threshold=settings["mask_threshold"],
    )
    width = settings["num_channels"]
    neck = ContextEncoder(width=width, pool_width=width // 4)
    return Detector(Handed(tuple(settings["backbone_channels"])), neck, head)


def instances_of(numbers: Numbers) -> Instances:
    """The recorded ground truth, on the canvas, padded by two."""
    images, canvas = len(numbers["meta/img_shape"]), tuple(numbers["meta/batch_input_shape"])
    shapes = [numbers[f"gt{b}/masks_shape"] for b in range(images)]
    most = max(shape[0] for shape in shapes) + 2
    whole = np.zeros((images, most, *canvas), np.uint8)
    labels, valid = np.zeros((images, most), np.int32), np.zeros((images, most), bool)
    for b, (count, height, width) in enumerate(shapes):
        bits = np.unpackbits(numbers[f"gt{b}/masks"], axis=-1)
        whole[b, :count, :height, :width] = bits[..., :width]
        labels[b, :count], valid[b, :count] = numbers[f"gt{b}/labels"], True
    nothing = np.zeros((images, most, 4), np.float32)
    return Instances({1: whole}, nothing, nothing[..., :2], labels, valid)


class Found(NamedTuple):
    """What ours makes of the recorded features."""

    parts: dict[str, Any]  # what the parts of the neck and the head give, by their names
    outputs: sparseinst.Outputs
    logits: jax.Array  # of masks
    targets: sparseinst.Targets
    dice: jax.Array
    gains: jax.Array
    slots: jax.Array  # of the instances
    iou: jax.Array  # of the instances with the masks of their slots
    terms: dict[str, dict[str, Mean]]  # by what is recorded of them: "loss", "loss_img0", ...
    gradients: Any  # of the parameters and of the features
    of_nothing: Any  # the same where there is no instance
    detections: Detections


def total(terms: dict[str, Mean]) -> jax.Array:
    return sum(map(value, terms.values()))


def run(model: Detector, params: Any, features: dict[str, Any], given: Instances) -> Found:
    """All of it by one program."""
    head = model.head

    def forward(params: Any, features: Any) -> Any:
        kept = {"capture_intermediates": True}
        pyramid, ours = model.neck.apply({"params": params["neck"]}, features, **kept)
        outputs, more = head.apply({"params": params["head"]}, pyramid, **kept)
        named = {**ours["intermediates"], **more["intermediates"]}
        del named["__call__"]  # of neck and head themselves
        parts = {name: part["__call__"][0] for name, part in named.items()}
        return outputs, {**parts, "neck": pyramid}

    def targets_of(given: Instances, *kept: bool) -> sparseinst.Targets:
        valid = given.valid & jnp.array(kept or True).reshape(-1, 1)
        return head.targets(given._replace(valid=valid), jax.random.key(0))

    @jax.jit
    def once(params: Any, features: Any, given: Instances) -> Found:
        targets, nothing = targets_of(given), targets_of(given, False, False)

        def loss(params: Any, features: Any, targets: Any) -> Any:
            outputs, parts = forward(params, features)
            terms = head.loss(outputs, targets)
            return total(terms), (outputs, parts, terms)

        differentiate = jax.grad(loss, (0, 1), has_aux=True)
        gradients, (outputs, parts, terms) = differentiate(params, features, targets)
        of_nothing, (_, _, of_none) = differentiate(params, features, nothing)
        terms = {"loss": terms, "loss_nogt_v1": of_none}
        terms["loss_empty0"] = head.loss(outputs, targets_of(given, False, True))
        for b in range(2):
            one, alone = jax.tree.map(lambda x, b=b: x[b : b + 1], (outputs, given))
            terms[f"loss_img{b}"] = head.loss(one, targets_of(alone))
        logits = sparseinst.mask_logits(outputs.mask_features, outputs.kernels)
        probabilities = jax.nn.sigmoid(logits)
        slots = matching.match(head.objective, outputs.class_logits, logits, targets)
        of_pairs = pick.take(logits, jnp.maximum(slots, 0))
        return Found(
            parts=parts,
            outputs=outputs,
            logits=logits,
            targets=targets,
            dice=matching.dice_coefficients(probabilities, targets.masks),
            gains=matching.gains(head.objective, outputs.class_logits, probabilities, targets),
            slots=slots,
            iou=matching.overlaps(of_pairs, targets.masks, head.objective.iou_threshold),
            terms=terms,
            gradients=gradients,
            of_nothing=of_nothing,
            detections=head.detect(outputs),
        )

    return once(params, features, given)


class Case(NamedTuple):
    """A recorded file, and what ours makes of it."""

    numbers: Numbers
    model: Detector
    found: Found


def open_file(path: Any) -> tuple[Numbers, Detector]:
    with np.load(path) as file:
        numbers = dict(file)
    return numbers, model_of(json.loads(str(numbers["meta/settings"])))


@pytest.fixture(
    scope="module",
    params=[pytest.param(path, id=path.stem, marks=pytest.mark.slow) for path in FILES],
)
def case(request) -> Case:
    numbers, model = open_file(request.param)
    return Case(numbers, model, found_of(numbers, model))


def found_of(numbers: Numbers, model: Detector, shift: float = 0) -> Found:
    """``run`` on what is recorded; ``shift`` is added to the biases ``KINK``."""
    # Under the release's names, through the converter.
    params = convert.load_state_dict(recorded.state_dict(numbers), model)["params"]
    if shift:
        flat = traverse_util.flatten_dict(params)
        params = traverse_util.unflatten_dict({**flat, KINK: flat[KINK] + shift})
    features = {ours: jnp.asarray(nhwc(numbers[f"in/{theirs}"])) for ours, theirs in LEVELS.items()}
    return run(model, params, features, instances_of(numbers))


def pick_recorded(numbers: Numbers, name: str, found: Any) -> tuple[np.ndarray, np.ndarray]:
    """What is recorded by that name, and the same of ``found``: every so many of axis 1."""
    for every, ending in ((1, ""), (4, "_every_4th"), (8, "_every_8th")):
        if name + ending in numbers:
            return numbers[name + ending], np.asarray(found)[:, ::every]
    raise KeyError(name)


def check_close(numbers: Numbers, name: str, found: Any) -> None:
    """To 5e-5 of the greatest recorded number."""
    expected, found = pick_recorded(numbers, name, found)
    atol = 5e-5 * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol, err_msg=name)


def nchw(array: jax.Array) -> np.ndarray:
    return np.moveaxis(np.asarray(array), -1, 1)


def test_encoder_and_outputs_equal_the_recorded_ones(case):
    parts, outputs = case.found.parts, case.found.outputs
    for name, found in (
        ("ppm", nchw(parts["pyramid_pooling"])),
        ("encoder", nchw(parts["neck"]["p3"])),
        ("inst_convs", nchw(parts["instance_trunk"])),
        ("iam_logits", nchw(parts["activation_maps"])),
        ("mask_features", nchw(outputs.mask_features)),
        ("kernels", outputs.kernels),
        ("logits", outputs.class_logits),
        ("objectness", outputs.objectness[..., None]),
        ("mask_logits", case.found.logits),
    ):
        check_close(case.numbers, f"feat/{name}", found)


def test_targets_gains_and_pairs_equal_the_recorded_ones(case):
    numbers, found = case.numbers, case.found
    for b in range(2):
        count = numbers[f"gt{b}/masks_shape"][0]
        masks_of_b = found.targets.masks[b, :count]
        np.testing.assert_array_equal(masks_of_b, numbers[f"tgt{b}/masks"])
        for name, ours in (("dice", found.dice), ("score", found.gains)):
            np.testing.assert_allclose(ours[b, :, :count], numbers[f"tgt{b}/{name}"], atol=1e-5)
        expected = np.full(found.slots.shape[1], -1)
        expected[numbers[f"tgt{b}/tgt_idx"]] = numbers[f"tgt{b}/src_idx"]
        np.testing.assert_array_equal(found.slots[b], expected)
    iou = [np.asarray(found.iou[b])[numbers[f"tgt{b}/tgt_idx"]] for b in range(2)]
    np.testing.assert_allclose(np.concatenate(iou), numbers["tgt/iou"], atol=1e-6)


def test_losses_equal_the_recorded_ones(case):
    """Of the batch, of each image, with one of them empty, and both."""
    for name, terms in case.found.terms.items():
        for ours, theirs in TERMS.items():
            expected = case.numbers[f"{name}/loss_{theirs}"]
            np.testing.assert_allclose(value(terms[ours]), expected, rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(
        total(case.found.terms["loss"]), case.numbers["loss/total"], rtol=1e-5
    )


def test_losses_of_a_batch_are_sums_over_its_images(case):
    """So one device gives the same as two: what each adds up does not know of the other."""
    terms = case.found.terms
    for name, whole in terms["loss"].items():
        parts = [terms[f"loss_img{b}"][name] for b in range(2)]
        assert whole.count == sum(part.count for part in parts)
        np.testing.assert_allclose(whole.total, sum(part.total for part in parts), rtol=1e-5)


def test_gradients_equal_the_recorded_ones(case):
    try:
        check_gradients(case, case.found)
    except AssertionError:
        if case.model.head.activation != "group":
            raise
        for shift in (2e-6, -2e-6):
            with contextlib.suppress(AssertionError):
                return check_gradients(case, found_of(case.numbers, case.model, shift))
        raise


def check_gradients(case: Case, found: Found) -> None:
    of_params, of_features = found.gradients
    flat = traverse_util.flatten_dict(of_params)
    if case.model.head.activation == "group_softmax":  # no softmax sees a shift
        for path in (("head", "softmax_bias"), ("head", "activation_maps", "bias")):
            assert np.abs(flat.pop(path)).max() < 1e-5
    recorded.check_gradients(case.numbers, case.model, traverse_util.unflatten_dict(flat))
    for ours, theirs in LEVELS.items():
        gradient = nchw(of_features[ours])
        expected, found = pick_recorded(case.numbers, f"grad_in/{theirs}", gradient)
        assert np.linalg.norm(found - expected) <= 1e-4 * np.linalg.norm(expected)


def test_without_instances_gradients_are_finite(case):
    terms = case.found.terms["loss_nogt_v1"]
    assert all(value(terms[name]) == 0 for name in ("mask", "dice", "objectness"))
    leaves = jax.tree.leaves(case.found.of_nothing)
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    assert any(np.any(np.asarray(leaf) != 0) for leaf in leaves)


_restore = jax.jit(masks.restore, static_argnames=("output_size", "threshold"))


def output_size_of(numbers: Numbers) -> tuple[int, int]:
    """What all recorded images fit into, as ``restore`` wants it."""
    shapes = [array for name, array in numbers.items() if name.endswith("/ori_shape")]
    height, width = np.concatenate(shapes).max(0).tolist()
    return height, -(-width // 8) * 8


def check_detections(
    numbers: Numbers, prefix: str, sizes: tuple[Any, Any], detections: Detections, b: int
) -> None:
    """Scores to 1e-5, labels exactly, masks at the original size to 99.9 % of the pixels.

    The release has slots in their order, and those with an empty mask as well.
    """
    scores, labels = numbers[f"{prefix}/scores"], numbers[f"{prefix}/labels"]
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > 0]
    count = len(order)
    assert detections.valid[b].sum() == count
    assert not np.asarray(detections.scores[b, count:]).any()
    np.testing.assert_allclose(detections.scores[b, :count], scores[order], atol=1e-5)
    np.testing.assert_array_equal(detections.labels[b, :count], labels[order])
    if not len(scores):
        return
    _, height, width = (int(side) for side in numbers[f"{prefix}/masks_shape"])
    packed = _restore(
        detections.masks[b],
        jnp.asarray(sizes[0]),
        jnp.asarray(sizes[1]),
        output_size=output_size_of(numbers),
        threshold=json.loads(str(numbers["meta/settings"]))["mask_threshold"],
    )
    found = np.unpackbits(np.asarray(packed), axis=-1)[:count, :height, :width]
    expected = np.unpackbits(numbers[f"{prefix}/masks"], axis=-1)[..., :width]
    assert not expected[scores == 0].any()
    if count:
        assert (found == expected[order]).mean() >= 0.999


def test_detections_equal_the_recorded_ones(case):
    sizes = (case.numbers["meta/img_shape"], case.numbers["meta/ori_shape"])
    for b in range(2):
        size = (sizes[0][b], sizes[1][b])
        check_detections(case.numbers, f"pred{b}", size, case.found.detections, b)


RECORDED_OUTPUTS = [path for path in FILES if "op_inf/pred_masks" in np.load(path)]


@pytest.mark.parametrize("path", RECORDED_OUTPUTS, ids=lambda path: path.stem)
def test_detections_of_recorded_outputs_equal_the_recorded_ones(path):
    """Among them an empty mask, a full one, and nothing above the threshold."""
    numbers, model = open_file(path)
    logits, scores, mask_logits = (
        numbers[f"op_inf/pred_{name}"] for name in ("logits", "scores", "masks")
    )
    head = model.head.clone(
        slots=logits.shape[1],
        num_classes=logits.shape[2],
        score_threshold=float(numbers["op_inf/cls_threshold"]),
    )
    detections = jax.jit(head.select)(logits, scores[..., 0], mask_logits)
    assert not detections.overflow.any()
    for b in range(len(logits)):
        size = (numbers["op_inf/img_shape"][b], numbers["op_inf/ori_shape"][b])
        check_detections(numbers, f"op_inf/{b}", size, detections, b)


TINY = SparseInst(num_classes=3, slots=4, width=8, depth=1, mask_width=8, mask_depth=1)


@pytest.mark.parametrize("groups", [2, 4])
def test_a_slot_reads_its_own_map_of_each_group(groups):
    """The release's sigmoid variant regroups by four alone; here any number is as four is."""
    head = TINY.clone(activation="group", groups=groups)
    features = np.random.default_rng(0).normal(size=(2, 4, 5, 6)).astype(np.float32)

    @jax.jit
    def once(pyramid: dict[str, jax.Array]) -> Any:
        _, variables = head.init_with_output(jax.random.key(0), pyramid)
        return head.apply(variables, pyramid, capture_intermediates=True), variables

    (_, kept), variables = once({"p3": features})
    parts = {
        name: np.asarray(part["__call__"][0])
        for name, part in kept["intermediates"].items()
        if name != "__call__"
    }
    seen = 1 / (1 + np.exp(-parts["activation_maps"]))
    seen /= seen.sum((1, 2), keepdims=True)
    layer = variables["params"]["group_fusion"]
    for slot in range(head.slots):
        maps = seen[..., slot :: head.slots]  # that of each group
        read = np.einsum("bhwg,bhwd->bgd", maps, parts["instance_trunk"]).reshape(2, -1)
        expected = read @ layer["kernel"] + layer["bias"][None]
        np.testing.assert_allclose(parts["group_fusion"][:, slot], expected, atol=1e-5)


def test_of_more_instances_than_slots_the_best_pairs_are_matched():
    """SciPy's choice; the others count as instances, not as pairs."""
    rng = np.random.default_rng(0)
    count = 7
    given = Instances(
        masks={1: rng.integers(0, 2, (2, count, 32, 32)).astype(np.uint8)},
        boxes=np.zeros((2, count, 4), np.float32),
        centers=np.zeros((2, count, 2), np.float32),
        labels=rng.integers(0, 3, (2, count)).astype(np.int32),
        valid=np.arange(count)[None] < np.array([[6], [3]]),
    )
    outputs = sparseinst.Outputs(
        class_logits=rng.normal(size=(2, 4, 3)).astype(np.float32),
        objectness=rng.normal(size=(2, 4)).astype(np.float32),
        kernels=rng.normal(size=(2, 4, 5)).astype(np.float32),
        mask_features=rng.normal(size=(2, 4, 4, 5)).astype(np.float32),
    )

    @jax.jit
    def once(outputs: Any, given: Instances) -> Any:
        targets = TINY.targets(given, jax.random.key(0))
        logits = sparseinst.mask_logits(outputs.mask_features, outputs.kernels)
        gains = matching.gains(
            TINY.objective, outputs.class_logits, jax.nn.sigmoid(logits), targets
        )
        slots = matching.match(TINY.objective, outputs.class_logits, logits, targets)
        return gains, slots, TINY.loss(outputs, targets), targets.metrics

    gains, slots, terms, metrics = once(outputs, given)
    for b, used in ((0, 6), (1, 3)):
        rows, columns = scipy.optimize.linear_sum_assignment(gains[b, :, :used], maximize=True)
        expected = np.full(count, -1)
        expected[columns] = rows
        np.testing.assert_array_equal(slots[b], expected)
    counts = {name: float(term.count) for name, term in terms.items()}
    assert counts == {"category": 9, "mask": 7, "dice": 9, "objectness": 7}
    assert value(metrics["unmatched_instances"]) == 2
    assert value(metrics["matched_instances"]) == 3.5


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"slots": 0}, "head.slots=0 must be at least 1"),
        ({"activation": "softmax"}, "head.activation: 'softmax' is none of 'single', "),
        ({"activation": "group", "groups": 3}, "head.width=8 does not divide into head.groups=3"),
        ({"norm_groups": 3}, "head.width=8 does not divide into head.norm_groups=3"),
        ({"score_threshold": 2.0}, "head.score_threshold=2.0 must be in 0..1"),
    ],
)
def test_a_head_that_cannot_work_is_refused(fields, said):
    with pytest.raises(InputError, match=said):
        TINY.clone(**fields)


def test_a_neck_without_stride_8_is_refused():
    with pytest.raises(InputError, match="the neck gives p2, not p3"):
        jax.eval_shape(TINY.init, jax.random.key(0), {"p2": jnp.zeros((1, 8, 8, 8))})
