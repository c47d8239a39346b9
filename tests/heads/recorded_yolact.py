"""The recorded tiny YOLACTs: how they are built from their settings, and read."""

import json
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from solojax import convert
from solojax.heads import yolact_loss
from solojax.heads.anchors import Anchors
from solojax.heads.box_selection import BoxSelection
from solojax.heads.yolact import YOLACT
from solojax.heads.yolact_loss import Objective
from solojax.heads.yolact_targets import Matching
from solojax.models.bilinear_fpn import BilinearFPN
from solojax.models.detector import Detector
from solojax.models.layers import NORM_MOMENTUM
from solojax.models.resnet import BASIC, BLOCKS, ResNet
from solojax.ops import masks
from solojax.parallel import AXIS
from solojax.types import Detections, Instances
from tests.conftest import FIXTURES
from tests.heads.recorded import state_dict, value

restore = jax.jit(masks.restore, static_argnames=("output_size", "canvas"))
TERMS = {"B": "box", "C": "class", "M": "mask", "S": "semantic", "I": "rescoring"}
Numbers = dict[str, np.ndarray]


class Given(nn.Module):
    """A backbone whose features are recorded; of an image, what they would be but for zeros."""

    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, images: Any, train: bool = False) -> dict[str, jax.Array]:
        if isinstance(images, dict):
            return images
        side = images.shape[1]
        return {
            f"c{level}": jnp.zeros((1, -(-side // 2**level), -(-side // 2**level), width))
            for level, width in enumerate(self.widths, start=3)
        }


class GivenDetector(Detector):
    """A detector that also reads such features in the place of images."""

    @nn.compact
    def __call__(self, images: Any, train: bool = False) -> Any:
        return self.head(self.neck(self.backbone(images, train)), train)


class Recorded:
    """A file, and the model it was recorded of: from the image on, or from the features."""

    def __init__(self, name: str) -> None:
        with np.load(FIXTURES / f"{name}.npz") as numbers:
            self.numbers: Numbers = dict(numbers)
        self.settings = settings = json.loads(str(self.numbers["meta/settings"]))
        self.side = int(settings["input"])
        # By its blocks; of others that no ResNet has, the network begins with what it gave.
        blocks = tuple(self.settings["resnet_blocks"])
        depths = [n for n, known in BLOCKS.items() if known == blocks and n not in BASIC]
        self.whole = bool(depths) and "params/backbone.conv1.weight" in self.numbers
        weights = settings["weights"]
        scales = tuple(map(tuple, settings["scales"]))
        head = YOLACT(
            num_classes=settings["num_classes_with_bg"] - 1,
            anchors=Anchors(
                levels=tuple(f"p{3 + i}" for i in range(len(scales))),
                scales=scales,
                ratios=tuple(settings["ratios"]),
                square=settings["use_square_anchors"],
                canvas=(self.side, self.side),
            ),
            width=settings["head_width"],
            prototype_width=settings["proto_width"],
            prototypes=settings["prototypes"],
            rescoring_widths=tuple(settings["maskiou_widths"] or ()),
            max_masks=settings["masks_to_train"],
            matching=Matching(settings["pos_iou"], settings["neg_iou"], settings["crowd_iou"]),
            objective=Objective(
                class_weight=weights["C"],
                box_weight=weights["B"],
                mask_weight=weights["M"],
                semantic_weight=weights["S"],
                rescoring_weight=weights["I"],
                negatives_per_positive=settings["negpos"],
                least_rescored=max(settings["discard_mask_area"], 0),
            ),
            selection=BoxSelection(
                score_threshold=settings["nms_conf_thresh"],
                max_candidates=100_000,
                nms_candidates=settings["nms_top_k"],
                nms_iou_threshold=settings["nms_thresh"],
                max_detections=settings["max_num_detections"],
            ),
        )
        neck = BilinearFPN(settings["fpn"], coarser_levels=len(scales) - 3)
        widths = tuple(settings["backbone_channels"][1:])
        self.model: Detector = GivenDetector(Given(widths), neck, head)
        if self.whole:
            width = settings["resnet_base"]
            backbone = ResNet(depths[0], width=width, norm="frozen", frozen_stages=0)
            self.model = Detector(backbone, neck, head)
            self.inputs: Any = jnp.asarray(self.numbers["img"].transpose(0, 2, 3, 1))
        else:
            self.inputs = {
                level: jnp.asarray(self.numbers[f"feat/{level}"].transpose(0, 2, 3, 1))
                for level in ("c3", "c4", "c5")
            }
        self.head = head

    def variables(self) -> dict[str, Any]:
        """By the names of the release."""
        given = state_dict(self.numbers)
        if not self.whole:
            given = {k: array for k, array in given.items() if not k.startswith("backbone.")}
        return convert.load_state_dict(given, self.model)

    def instances(self) -> Instances:
        """The recorded truth; crowds follow the instances."""
        sizes = [len(self.numbers[f"gt{b}/labels"]) for b in range(2)]
        slots = max(sizes) + 1
        each = []
        for b, size in enumerate(sizes):
            crowds = int(self.numbers[f"gt{b}/num_crowds"])
            width = int(self.numbers[f"gt{b}/masks_shape"][-1])
            whole_masks = np.unpackbits(self.numbers[f"gt{b}/masks"], axis=-1)[..., :width]
            boxes = self.numbers[f"gt{b}/boxes"] * self.side
            whole = np.rint(boxes)  # those of the masks
            assert np.abs(boxes - whole).max() < 1e-3
            labels = np.maximum(self.numbers[f"gt{b}/labels"], 0)
            fill = slots - size
            place = np.arange(slots)
            each.append(
                Instances(
                    masks={1: np.pad(whole_masks, ((0, fill), (0, 0), (0, 0)))},
                    boxes=np.pad(whole, ((0, fill), (0, 0))).astype(np.float32),
                    centers=np.zeros((slots, 2), np.float32),
                    labels=np.pad(labels, (0, fill)).astype(np.int32),
                    valid=place < size - crowds,
                    crowd=(place >= size - crowds) & (place < size),
                )
            )
        return jax.tree.map(lambda *parts: jnp.stack(parts), *each)

    def check(self, name: str, found: Any, *, channels_last: bool = False) -> None:
        """To 1e-4 of the greatest; ``found`` is NHWC or ``B A C``, maybe only part is recorded."""
        found = np.asarray(found)
        if found.ndim == 4 and not channels_last:
            found = found.transpose(0, 3, 1, 2)
        for every, ending in ((1, ""), (4, "_every_4th"), (8, "_every_8th")):
            if name + ending in self.numbers:
                expected = self.numbers[name + ending]
                atol = 1e-4 * np.abs(expected).max()
                np.testing.assert_allclose(found[:, ::every], expected, rtol=0, atol=atol)
                return
        raise KeyError(name)

    def check_gradients(self, gradients: Any, prefix: str = "grad", rtol: float = 1e-4) -> None:
        """To a relative norm; a norm's that are not recorded are zero, or else not looked at."""
        expected = {}
        for name, array in state_dict(self.numbers).items():
            whole = self.numbers.get(f"{prefix}/{name}")
            every_4th = self.numbers.get(f"{prefix}_every_4th/{name}")
            if every_4th is not None:
                whole = np.full(array.size, np.nan, np.float32)
                whole[::4] = every_4th
            elif whole is None:
                frozen = prefix == "grad" and name.startswith("backbone")
                whole = np.full(array.shape, 0 if frozen else np.nan, np.float32)
            expected[name] = whole.reshape(array.shape)
        wanted = traverse_util.flatten_dict(convert.load_state_dict(expected, self.model)["params"])
        compared = 0
        for path, found in traverse_util.flatten_dict(gradients).items():
            assert np.isfinite(found).all(), path
            known = np.isfinite(wanted[path])
            error = np.linalg.norm((np.asarray(found) - wanted[path])[known])
            assert error <= rtol * np.linalg.norm(wanted[path][known]) + 1e-9, path
            compared += known.any()
        recorded = sum(name.startswith((f"{prefix}/", f"{prefix}_every")) for name in self.numbers)
        assert compared >= recorded > 0

    def check_statistics(self, batch_stats: Any) -> None:
        """Of norms that keep the variance of the batch; PyTorch keeps an estimate of its source."""
        prefix = "bn_train/buffers/"
        named = {k.removeprefix(prefix): v for k, v in self.numbers.items() if k.startswith(prefix)}
        old = state_dict(self.numbers)
        unknown = {k: np.full_like(v, np.nan, np.float32) for k, v in old.items()}
        before, after = (
            traverse_util.flatten_dict(convert.load_state_dict(each, self.model)["batch_stats"])
            for each in (old, {**unknown, **named})
        )
        compared = 0
        for path, found in traverse_util.flatten_dict(batch_stats).items():
            if np.isnan(after[path]).any():
                continue
            compared += 1
            if path[-1] == "var":
                kept = NORM_MOMENTUM * before[path]
                count = self._count(path)
                found = kept + (np.asarray(found) - kept) * count / (count - 1)
            np.testing.assert_allclose(found, after[path], rtol=1e-3, atol=1e-5)
        counters = sum(name.endswith("num_batches_tracked") for name in named)
        assert compared == len(named) - counters > 0

    def _count(self, path: tuple[str, ...]) -> int:
        """Positions of all images that a norm of the backbone averages over."""
        halvings = 1  # of the stem
        if path[1].startswith("layer"):
            stage, block = map(int, path[1].removeprefix("layer").split("_"))
            halvings = stage + 1 - (block == 0 and path[2] == "bn1" and stage > 1)
        side = self.side
        for _ in range(halvings):
            side = -(-side // 2)
        return 2 * side * side

    def check_boxes(self, detections: Detections, b: int, prefix: str) -> None:
        """Scores to 1e-5, classes exactly, boxes as shares of the canvas."""
        valid = np.asarray(detections.valid[b])
        scores = self.numbers[f"{prefix}/score"]
        assert valid.sum() == len(scores)
        np.testing.assert_allclose(detections.scores[b][valid], scores, atol=1e-5)
        np.testing.assert_array_equal(detections.labels[b][valid], self.numbers[f"{prefix}/class"])
        shares = np.asarray(detections.boxes[b])[valid] / self.side
        np.testing.assert_allclose(shares, self.numbers[f"{prefix}/box"], atol=1e-4)

    def check_detections(self, detections: Detections, b: int) -> None:
        """Scores, classes, whole boxes and masks at the original size, best first."""
        scores = self.numbers.get(f"pred{b}/mask_scores", self.numbers[f"pred{b}/scores"])
        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] > 0]  # what re-scoring leaves nothing of is not found here
        valid = np.asarray(detections.valid[b])
        np.testing.assert_allclose(detections.scores[b][valid], scores[order], atol=1e-5)
        np.testing.assert_array_equal(
            detections.labels[b][valid], self.numbers[f"pred{b}/classes"][order]
        )
        height, width = (int(side) for side in self.numbers["meta/ori_shape"][b])
        scale = np.array([width, height, width, height]) / self.side
        ends = np.array([width, height, width, height])
        boxes = np.clip(np.asarray(detections.boxes[b])[valid] * scale, 0, ends)
        np.testing.assert_array_equal(boxes.astype(int), self.numbers[f"pred{b}/boxes"][order])
        expected = np.unpackbits(self.numbers[f"pred{b}/masks"], axis=-1)[order, :, :width]
        # The release resizes once; the house by way of the canvas, which may have padding to lose.
        for canvas in ((self.side, self.side), detections.masks.shape[2:]):
            packed = restore(
                detections.masks[b],
                jnp.array(canvas),
                jnp.array([height, width]),
                output_size=(height, -(-width // 8) * 8),
                canvas=canvas,
            )
            found = np.unpackbits(np.asarray(packed), axis=-1)[valid, :, :width]
            assert (found == expected).mean() >= 0.999

    def check_losses(self, prefix: str, terms: dict[str, Any], rtol: float = 1e-5) -> None:
        for letter, term in TERMS.items():
            if term in terms:
                expected = self.numbers[f"{prefix}/{letter}"]
                np.testing.assert_allclose(value(terms[term]), expected, rtol=rtol)
        assert len(terms) == 4 + bool(self.head.rescoring_widths)


class Found(NamedTuple):
    """What a network and its head make of the recorded batch."""

    features: dict[str, Any]
    outputs: Any
    targets: Any
    terms: dict[str, Any]
    gradients: Any
    detections: Detections
    cross_class: Detections  # of another NMS
    masks: jax.Array  # B P h w, those of the positives, as they are re-scored


def run(model: Detector, variables: Any, inputs: Any, given: Instances) -> Found:
    """All of it by one program."""
    head = model.head
    selection = head.selection
    other = head.clone(
        rescoring_widths=(),
        selection=BoxSelection(
            score_threshold=selection.score_threshold,
            max_candidates=selection.max_candidates,
            nms="all_classes",
            nms_candidates=selection.nms_candidates,
            nms_iou_threshold=selection.nms_iou_threshold,
            max_detections=selection.nms_candidates,
        ),
    )

    @jax.jit
    def once(variables: Any, inputs: Any, given: Instances) -> Found:
        targets = head.targets(given, jax.random.key(0))

        def loss(params: Any) -> Any:
            outputs, state = model.apply(
                {**variables, "params": params},
                inputs,
                capture_intermediates=lambda part, _: part.name in ("backbone", "neck"),
            )
            terms = head.loss(outputs, targets)
            return sum(map(value, terms.values())), (state["intermediates"], outputs, terms)

        gradients, (parts, outputs, terms) = jax.grad(loss, has_aux=True)(variables["params"])
        features = {name: part["__call__"][0] for name, part in parts.items()}
        return Found(
            features=features,
            outputs=outputs,
            targets=targets,
            terms=terms,
            gradients=gradients,
            detections=head.detect(outputs),
            cross_class=other.detect(outputs),
            masks=yolact_loss.mask_loss(
                head.objective, outputs.prototypes, outputs.coefficients, targets
            )[1],
        )

    return once(variables, inputs, given)


class Alone(NamedTuple):
    """What a head makes of the outputs for one image."""

    terms: dict[str, Any]
    gradients: Any  # of the outputs
    detections: Detections


def one_by_one(head: Any, found: Found, given: Instances) -> dict[Any, Alone]:
    """Of both images of a batch, and of "nothing": the first without what is in it."""

    @jax.jit
    def once(outputs: Any, given: Instances) -> Alone:
        targets = head.targets(given, jax.random.key(0))

        def loss(outputs: Any) -> Any:
            terms = head.loss(outputs, targets)
            return sum(map(value, terms.values())), terms

        gradients, terms = jax.grad(loss, has_aux=True)(outputs)
        return Alone(terms, gradients, head.detect(outputs))

    def outputs(b: int) -> Any:  # the re-scoring belongs to all images
        some = jax.tree.map(lambda x: x[b : b + 1], found.outputs._replace(rescoring=()))
        return some._replace(rescoring=found.outputs.rescoring)

    def image(b: int) -> Instances:
        return jax.tree.map(lambda x: x[b : b + 1], given)

    nothing = image(0)._replace(valid=jnp.zeros_like(given.valid[:1]))
    alone: dict[Any, Alone] = {b: once(outputs(b), image(b)) for b in range(2)}
    return {**alone, "nothing": once(outputs(0), nothing)}


def train(model: Detector, variables: Any, inputs: Any, given: Instances) -> Any:
    """Terms, gradients and running statistics of a step whose norms take the batch's statistics."""
    synchronised = model.clone(backbone=model.backbone.clone(norm="sync"))

    def once(variables: Any, inputs: Any, given: Instances) -> Any:
        targets = model.head.targets(given, jax.random.key(0))

        def loss(params: Any) -> Any:
            given = {**variables, "params": params}
            outputs, state = synchronised.apply(given, inputs, train=True, mutable="batch_stats")
            terms = model.head.loss(outputs, targets)
            return sum(map(value, terms.values())), (terms, state["batch_stats"])

        return jax.grad(loss, has_aux=True)(variables["params"])

    one_device = jax.vmap(once, (None, 0, 0), axis_name=AXIS)
    found = jax.jit(one_device)(variables, *jax.tree.map(lambda x: x[None], (inputs, given)))
    gradients, (terms, batch_stats) = jax.tree.map(lambda x: x[0], found)
    return terms, gradients, batch_stats
