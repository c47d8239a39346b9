"""What training, evaluation and the command line take for granted of every head."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax.heads.anchors import Anchors
from solojax.heads.decoupled_solo import DecoupledSOLO
from solojax.heads.deeplab import DeepLabV3Plus
from solojax.heads.fcn import FCN
from solojax.heads.grid import grid_of
from solojax.heads.labeller import Labeller, LabelObjective
from solojax.heads.matching import Objective as SlotObjective
from solojax.heads.panoptic import Panoptic
from solojax.heads.panoptic_fpn import PanopticFPN
from solojax.heads.pp_liteseg import PPLiteSeg
from solojax.heads.protocol import InstanceHead, PixelHead, finds_instances
from solojax.heads.pspnet import PSPNet
from solojax.heads.solo import SOLO
from solojax.heads.solov2 import SOLOv2
from solojax.heads.sparseinst import SparseInst
from solojax.heads.unet import UNet
from solojax.heads.yolact import YOLACT
from solojax.types import Detections, Mean
from tests import examples
from tests.heads.stranger import Framed, Slots

_SHARED = {
    "num_classes": 3,
    "grid": examples.MODEL.head.grid,
    "width": 8,
    "depth": 1,
    "groups": 4,
    "selection": examples.MODEL.head.selection,
}
LEVELS = {
    f"p{level}": jax.ShapeDtypeStruct((8, 64 >> level, 64 >> level, 8), jnp.float32)
    for level in range(1, 6)
}
PYRAMID = {"p2": LEVELS["p2"], "p3": LEVELS["p3"]}
SOLOS = [SOLO(**_SHARED), DecoupledSOLO(**_SHARED)]
# A head and the pyramid of a canvas of 64 pixels that it runs on.
ROWS: dict[str, tuple[InstanceHead, dict[str, jax.ShapeDtypeStruct]]] = {
    "solo": (SOLOS[0], PYRAMID),
    "decoupled": (SOLOS[1], PYRAMID),
    "decoupled-light": (DecoupledSOLO(**_SHARED, shared_trunk=True), PYRAMID),
    "solov2": (
        SOLOv2(**_SHARED, kernel_width=8, mask_feature_width=8, mask_levels=("p2", "p3")),
        PYRAMID,
    ),
    "sparseinst": (
        SparseInst(
            num_classes=3,
            slots=5,
            activation="group",
            width=8,
            depth=1,
            mask_width=8,
            objective=SlotObjective(semantic_weight=1),
        ),
        PYRAMID,
    ),
    "yolact": (
        YOLACT(
            num_classes=3,
            anchors=Anchors(levels=("p3",), scales=((16,),)),
            width=8,
            prototype_width=8,
            prototypes=4,
            rescoring_widths=(4,),
        ),
        {"p3": PYRAMID["p3"]},
    ),
    "yolact-small": (
        YOLACT(
            num_classes=3,
            anchors=Anchors(levels=("p2",), scales=((16,),)),
            width=8,
            prototype_width=8,
            prototypes=4,
            enlarge_prototypes=False,
        ),
        {"p2": PYRAMID["p2"]},
    ),
    "stranger": (Slots(), PYRAMID),
    "framed": (Framed(), PYRAMID),
    "panoptic": (
        Panoptic(SOLOS[0], Labeller(PanopticFPN(8, ("p2", "p3"), groups=4), 5)),
        PYRAMID,
    ),
}
DECODERS = {
    "fcn": FCN(8, auxiliary_width=8, norm="group", groups=4),
    "unet": UNet((8,) * 5, norm="group", groups=4),
    "pspnet": PSPNet(8, auxiliary_width=8, norm="group", groups=4),
    "deeplab": DeepLabV3Plus(8, low_width=8, norm="group", groups=4),
    "pp-liteseg": PPLiteSeg(8, (1, 2), (8,) * 3, (8,) * 3, norm="group", groups=4),
    "panoptic-fpn": PanopticFPN(8, groups=4),
}
EVERY_LOSS = LabelObjective(stride=2, dice_weight=1, lovasz_weight=1, hard_share=0.1)
LABELLERS: dict[str, tuple[PixelHead, dict[str, jax.ShapeDtypeStruct]]] = {
    "panoptic": (ROWS["panoptic"][0], PYRAMID),
    **{name: (Labeller(each, 5, 0.1, EVERY_LOSS), LEVELS) for name, each in DECODERS.items()},
}


def run(head: Any, pyramid: Any) -> tuple[Any, Any, Any, Any]:
    """Outputs, targets, loss, and detections or logits of labels, as shapes."""

    def everything(variables, pyramid, instances):
        rngs = {"dropout": jax.random.key(1)}
        outputs = head.apply(variables, pyramid, train=True, rngs=rngs)
        targets = head.targets(instances, jax.random.key(0))
        answer = head.detect if finds_instances(head) else head.label_logits
        return outputs, targets, head.loss(outputs, targets), answer(outputs)

    variables = jax.eval_shape(head.init, jax.random.key(0), pyramid)
    return jax.eval_shape(everything, variables, pyramid, examples.instances_for(head, 8))


def check_means(terms: dict[str, Mean], metrics: dict[str, Mean]) -> None:
    for mean in [*terms.values(), *metrics.values()]:
        assert isinstance(mean, Mean)
        assert mean.total.shape == mean.count.shape == ()
        assert mean.total.dtype == mean.count.dtype == jnp.float32
    assert not terms.keys() & metrics.keys()


@pytest.mark.parametrize(("head", "pyramid"), LABELLERS.values(), ids=LABELLERS)
def test_a_head_that_labels_gives_what_the_rest_expects(head, pyramid):
    outputs, targets, terms, _ = run(head, pyramid)
    assert all(stride == 1 or stride % 2 == 0 for stride in head.label_strides)
    check_means(terms, targets.metrics)
    logits = jax.eval_shape(head.label_logits, outputs)
    assert logits.shape[::3] == (8, 5) and logits.dtype == jnp.float32
    assert logits.shape[1] == logits.shape[2] >= 2


@pytest.mark.parametrize(("head", "pyramid"), ROWS.values(), ids=ROWS)
def test_a_head_gives_what_the_rest_expects(head, pyramid):
    _, targets, terms, detections = run(head, pyramid)
    assert all(stride == 1 or stride % 2 == 0 for stride in head.mask_strides)
    assert 0 < head.mask_threshold < 1
    check_means(terms, targets.metrics)
    assert isinstance(detections, Detections)
    assert detections.masks.ndim == 4 and min(detections.masks.shape[2:]) >= 16
    count = detections.scores.shape[1]
    assert jax.tree.map(lambda x: (x.shape, x.dtype.name), detections) == Detections(
        scores=((8, count), "float32"),
        labels=((8, count), "int32"),
        masks=((8, count, *detections.masks.shape[2:]), "float32"),
        valid=((8, count), "bool"),
        overflow=((8,), "int32"),
        boxes=None if detections.boxes is None else ((8, count, 4), "float32"),
        cells=((8, count), "int32") if grid_of(head) else None,
    )


@pytest.mark.parametrize("head", SOLOS, ids=["solo", "decoupled"])
def test_an_overflow_of_positives_is_counted(head):
    instances = examples.make_instances(8)
    everything, few = (
        jax.jit(lambda each=each: each.targets(instances, jax.random.key(0)).metrics)()
        for each in (head, head.clone(max_positives=1))
    )
    assert everything["dropped_positives"].total == 0
    lost = everything["positives"].total - few["positives"].total
    assert few["dropped_positives"].total == lost > 0
    assert few["positives"].count == 8
    assert np.isfinite(float(few["collisions_p2"].total))
