"""The programs of every head, lowered for machines that are not here."""

import jax
import numpy as np
import pytest

from solojax import config as config_lib
from solojax import parallel
from solojax.heads.anchors import Anchors
from solojax.heads.decoupled_solo import DecoupledSOLO
from solojax.heads.solo import SOLO
from solojax.heads.sparseinst import SparseInst
from solojax.heads.yolact import YOLACT
from solojax.inference import predict
from solojax.models import resnet
from solojax.models.bilinear_fpn import BilinearFPN
from solojax.models.context import ContextEncoder
from solojax.models.resnet import ResNet
from solojax.training import memory, step
from tests import examples

PLATFORMS = ("tpu", "cuda")
SOLOV2 = examples.MODEL.head
SHARED = {
    name: getattr(SOLOV2, name)
    for name in ("num_classes", "grid", "width", "groups", "max_positives", "selection")
}
MODELS = {
    "solov2": examples.MODEL,
    "solo": examples.MODEL.clone(head=SOLO(**SHARED, depth=1)),
    "decoupled_solo": examples.MODEL.clone(head=DecoupledSOLO(**SHARED, depth=1)),
    "sparseinst": examples.MODEL.clone(
        neck=ContextEncoder(width=8, pool_width=4),
        head=SparseInst(num_classes=3, slots=5, activation="group", width=8, mask_width=8),
    ),
    "yolact": examples.MODEL.clone(
        neck=BilinearFPN(8, coarser_levels=0),
        head=YOLACT(
            num_classes=3,
            anchors=Anchors(("p3", "p4", "p5"), ((16,), (32,), (64,))),
            width=8,
            prototype_width=8,
            prototypes=4,
            rescoring_widths=(4,),
            max_masks=20,
        ),
    ),
    # All that a published model adds: synchronised norms, deformable convolutions, DropBlock.
    "solov2_dcn": examples.MODEL.clone(
        backbone=ResNet(50, width=8, norm="sync", frozen_stages=1, deform="v2", remat_stages=(4,)),
        head=SOLOV2.clone(deform="v2", drop_block=0.1, remat=True),
    ),
}


def exported(function, *arguments):
    return jax.export.export(jax.jit(function), platforms=PLATFORMS)(*arguments)


# In the precision of those machines; float32, which all other tests lower, once with all there is.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "precision"), [*((name, "bfloat16") for name in MODELS), ("solov2_dcn", "float32")]
)
def test_training_and_prediction_lower_for_tpu_and_cuda(name, precision, monkeypatch):
    monkeypatch.setitem(resnet.BLOCKS, 50, (1, 1, 1, 1))  # the same again is nothing new
    config = config_lib.Config(
        MODELS[name],
        data=config_lib.Data(canvases=((64, 96),), max_instances=3),
        optimizer=config_lib.Optimizer(ema_decay=0.9),
        training=config_lib.Training(batch_size=16, accumulate=2, precision=precision),
    )
    state, batch = memory.arguments(config, (64, 96))
    # The form of pmap's program that can be exported (tests/test_parallel.py: it is the same).
    monkeypatch.setenv(parallel.FORM, "shard_map")
    update = parallel.portable_update(step.update_of(config, memory.rule_of(config)))
    trained = jax.export.export(update, platforms=PLATFORMS)(state, parallel.shapes_of(batch))
    assert trained.platforms == PLATFORMS and trained.nr_devices == 8
    assert "all_reduce" in trained.mlir_module()
    new_state, metrics = jax.tree.unflatten(trained.out_tree, trained.out_avals)
    assert [leaf.dtype for leaf in jax.tree.leaves(new_state)] == [
        leaf.dtype for leaf in jax.tree.leaves(state)
    ]
    assert metrics["loss"].dtype == np.float32

    network = predict.make_predict(config.model, (96, 128), parallel.resolve_precision(precision))
    found = exported(
        network,
        jax.eval_shape(lambda: step.eval_variables(state)),
        batch.images,
        batch.sizes,
        batch.original_sizes,
    )
    results = jax.tree.unflatten(found.out_tree, found.out_avals)
    assert found.platforms == PLATFORMS
    assert results.scores.dtype == np.float32 and results.masks.dtype == np.uint8
    if precision == "float32":  # and neither TF32 nor passes of bfloat16
        assert "DEFAULT" not in found.mlir_module() and "HIGHEST" in found.mlir_module()
