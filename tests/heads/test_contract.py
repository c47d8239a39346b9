"""What training, evaluation and the command line take for granted of every head."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax.heads.anchors import Anchors
from solojax.heads.decoupled_solo import DecoupledSOLO
from solojax.heads.grid import grid_of
from solojax.heads.protocol import InstanceHead
from solojax.heads.solo import SOLO
from solojax.heads.solov2 import SOLOv2
from solojax.heads.sparseinst import SparseInst
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
PYRAMID = {
    "p2": jax.ShapeDtypeStruct((8, 16, 16, 8), jnp.float32),
    "p3": jax.ShapeDtypeStruct((8, 8, 8, 8), jnp.float32),
}
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
        SparseInst(num_classes=3, slots=5, activation="group", width=8, depth=1, mask_width=8),
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
}


def run(head: Any, pyramid: Any) -> tuple[Any, Any, Any, Any]:
    """Outputs, targets, loss and detections, as shapes."""

    def everything(variables, pyramid, instances):
        outputs = head.apply(variables, pyramid, train=True)
        targets = head.targets(instances, jax.random.key(0))
        return outputs, targets, head.loss(outputs, targets), head.detect(outputs)

    variables = jax.eval_shape(head.init, jax.random.key(0), pyramid)
    return jax.eval_shape(everything, variables, pyramid, examples.instances_for(head, 8))


@pytest.mark.parametrize(("head", "pyramid"), ROWS.values(), ids=ROWS)
def test_a_head_gives_what_the_rest_expects(head, pyramid):
    _, targets, terms, detections = run(head, pyramid)
    assert all(stride == 1 or stride % 2 == 0 for stride in head.mask_strides)
    assert 0 < head.mask_threshold < 1
    for mean in [*terms.values(), *targets.metrics.values()]:
        assert isinstance(mean, Mean)
        assert mean.total.shape == mean.count.shape == ()
        assert mean.total.dtype == mean.count.dtype == jnp.float32
    assert not terms.keys() & targets.metrics.keys()
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
