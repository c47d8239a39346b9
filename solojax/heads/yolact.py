"""YOLACT: boxes of anchors bear the coefficients by which prototypes add up to masks.

Bolya et al., *YOLACT: Real-time Instance Segmentation*, ICCV 2019, and *YOLACT++: Better Real-time
Instance Segmentation*, 2020. Defaults are those of the authors' release.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from solojax.fields import check_count, check_fields
from solojax.heads import yolact_loss, yolact_targets
from solojax.heads.anchors import Anchors
from solojax.heads.box_selection import BoxSelection, Predictions, select
from solojax.heads.levels import check_levels
from solojax.heads.rescoring import Layer, Rescoring, rescore
from solojax.heads.semantic import semantic_loss
from solojax.heads.yolact_loss import Objective
from solojax.heads.yolact_targets import Matching, Targets
from solojax.models.detector import Names
from solojax.models.layers import XAVIER_INIT, Conv, ConvReLU
from solojax.ops import resize
from solojax.types import Detections, InputError, Instances, Mean

PROTOTYPE_DEPTH = 3  # convolutions before the prototypes are enlarged; one more follows


class Outputs(NamedTuple):
    """What the network predicts at ``A`` anchors, and for all of them together."""

    code: jax.Array  # B A 4, boxes as ops.boxes.encode has them
    class_logits: jax.Array  # B A 1+C, background first
    coefficients: jax.Array  # B A E, -1..1
    prototypes: jax.Array  # B 2h 2w E, not negative; B h w E where they are not enlarged
    semantic_logits: jax.Array  # B h w C, h and w those of the finest level
    rescoring: tuple[Layer, ...]  # parameters; empty where nothing is re-scored


class YOLACT(nn.Module):
    """The YOLACT head; with ``rescoring_widths`` that of YOLACT++."""

    num_classes: int = 80
    anchors: Anchors = Anchors()
    width: int = 256  # channels of the convolution that all levels share
    prototype_width: int = 256
    prototypes: int = 32  # E
    enlarge_prototypes: bool = True  # to twice the size of the finest level; else they are of its
    rescoring_widths: tuple[int, ...] = ()  # YOLACT++: (8, 16, 32, 64, 128)

    max_masks: int = 100  # positives of an image whose masks are trained; a surplus is counted
    matching: Matching = Matching()
    objective: Objective = Objective()
    selection: BoxSelection = BoxSelection()

    def __post_init__(self) -> None:
        check_fields(self, "head")
        counts = ("num_classes", "width", "prototype_width", "prototypes", "max_masks")
        check_count(self, "head", *counts, "rescoring_widths")
        if not self.enlarge_prototypes and self.anchors.levels[0] != "p2":
            raise InputError(
                "head.enlarge_prototypes=False leaves masks at the size of "
                f"{self.anchors.levels[0]}, coarser than a quarter; set it, or let head.anchors "
                "begin with p2"
            )
        super().__post_init__()

    @property
    def mask_strides(self) -> tuple[int, ...]:
        """Masks of the whole canvas: prototypes need not be a whole number of times smaller."""
        return (1,)

    @property
    def mask_threshold(self) -> float:
        """Above this a probability is in the mask."""
        return self.selection.mask_threshold

    @property
    def state_dict_names(self) -> Names:
        """Names in the authors' files and places here; theirs count ReLUs as layers."""
        layer = r"prediction_layers\.0\."
        return (
            *((rf"proto_net\.{2 * i}", f"head/prototypes/conv_{i}/conv") for i in range(3)),
            (r"proto_net\.8", "head/prototypes/conv_3/conv"),
            (r"proto_net\.10", "head/prototypes/predictor"),
            (layer + r"upfeature\.0", "head/trunk/conv"),
            (layer + r"bbox_layer", "head/box_predictor"),
            (layer + r"conf_layer", "head/class_predictor"),
            (layer + r"mask_layer", "head/coefficient_predictor"),
            (r"semantic_seg_conv", "head/semantic_predictor"),
            *(
                (rf"maskiou_net\.maskiou_net\.{2 * i}", f"head/rescoring/conv_{i}")
                for i in range(len(self.rescoring_widths) + 1)
            ),
        )

    @nn.compact
    def __call__(self, pyramid: dict[str, jax.Array], train: bool = False) -> Outputs:
        """Runs the head on ``{"p3": B H/8 W/8 C, ...}``."""
        check_levels("anchors.levels", self.anchors.levels, pyramid)
        finest = pyramid[self.anchors.levels[0]]
        trunk = ConvReLU(self.width, kernel_init=XAVIER_INIT, name="trunk")
        predictors = [
            (_predictor(self.anchors.per_cell * depth, f"{name}_predictor"), depth)
            for name, depth in (
                ("box", 4),
                ("class", 1 + self.num_classes),
                ("coefficient", self.prototypes),
            )
        ]
        levels = []
        for level in self.anchors.levels:
            x = trunk(pyramid[level])
            levels.append([predict(x).reshape(x.shape[0], -1, d) for predict, d in predictors])
        code, class_logits, coefficients = (
            jnp.concatenate(parts, 1) for parts in zip(*levels, strict=True)
        )
        # It only teaches the features; a prediction does not ask for it, and it is not computed.
        semantic = _predictor(self.num_classes, "semantic_predictor", size=1)
        layers: tuple[Layer, ...] = ()
        if self.rescoring_widths:
            layers = Rescoring(self.num_classes, self.rescoring_widths, name="rescoring")(
                finest.dtype
            )
        prototypes = Prototypes(
            self.prototype_width, self.prototypes, self.enlarge_prototypes, name="prototypes"
        )
        return Outputs(
            code,
            class_logits,
            jnp.tanh(coefficients),
            prototypes(finest),
            semantic(finest),
            layers,
        )

    @nn.nowrap
    def targets(self, instances: Instances, key: jax.Array) -> Targets:
        """Matches ``B N`` instances with anchors; ``key`` draws which masks are trained."""
        return yolact_targets.make_targets(
            self.anchors,
            self.matching,
            instances,
            key,
            num_classes=self.num_classes,
            max_masks=self.max_masks,
            mask_scale=2 if self.enlarge_prototypes else 1,
        )

    @nn.nowrap
    def loss(self, outputs: Outputs, targets: Targets) -> dict[str, Mean]:
        """Boxes, classes, masks, semantic segmentation and re-scoring, weights included.

        All but the semantic segmentation are over the number of positives, also what is summed over
        some of them, or over negatives.
        """
        mask, masks = yolact_loss.mask_loss(
            self.objective, outputs.prototypes, outputs.coefficients, targets
        )
        terms = {
            "box": yolact_loss.box_loss(self.objective, outputs.code, targets),
            "class": yolact_loss.class_loss(self.objective, outputs.class_logits, targets),
            "mask": mask,
            "semantic": semantic_loss(
                outputs.semantic_logits, targets.semantic, self.objective.semantic_weight
            ),
        }
        if self.rescoring_widths:
            terms["rescoring"] = yolact_loss.rescoring_loss(
                self.objective, outputs.rescoring, masks, targets
            )
        return terms

    @nn.nowrap
    def detect(self, outputs: Outputs) -> Detections:
        """Finds the instances of a batch; fixed shapes, for use inside ``jit``."""
        _, height, width, _ = outputs.semantic_logits.shape
        canvas = self.anchors.canvas_of(self.anchors.levels[0], (height, width))
        return select(
            self.selection,
            jnp.asarray(self.anchors.boxes(canvas)),
            canvas,
            Predictions(*outputs[:4]),
            (lambda masks: rescore(outputs.rescoring, masks)) if self.rescoring_widths else None,
        )


class Prototypes(nn.Module):
    """Maps that masks are sums of: ``B h w C -> B 2h 2w count``, never negative."""

    width: int
    count: int
    enlarge: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i in range(PROTOTYPE_DEPTH):
            x = ConvReLU(self.width, kernel_init=XAVIER_INIT, name=f"conv_{i}")(x)
        if self.enlarge:
            x = resize.double(x)
        x = ConvReLU(self.width, kernel_init=XAVIER_INIT, name=f"conv_{PROTOTYPE_DEPTH}")(x)
        return nn.relu(_predictor(self.count, "predictor", size=1)(x))


def _predictor(width: int, name: str, size: int = 3) -> nn.Conv:
    """A convolution with bias alone; to be called in a compact method."""
    return Conv(width, (size, size), padding=size // 2, kernel_init=XAVIER_INIT, name=name)
