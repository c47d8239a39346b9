"""Networks of bfloat16 images: what is bfloat16 in them, and what stays float32."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Jaxpr

from solojax.heads.anchors import Anchors
from solojax.heads.decoupled_solo import DecoupledSOLO
from solojax.heads.deeplab import DeepLabV3Plus
from solojax.heads.fcn import FCN
from solojax.heads.labeller import Labeller, LabelObjective
from solojax.heads.panoptic import Panoptic
from solojax.heads.panoptic_fpn import PanopticFPN
from solojax.heads.pp_liteseg import PPLiteSeg
from solojax.heads.protocol import finds_instances, labels_pixels
from solojax.heads.pspnet import PSPNet
from solojax.heads.solo import SOLO
from solojax.heads.solov2 import SOLOv2
from solojax.heads.sparseinst import SparseInst
from solojax.heads.unet import UNet
from solojax.heads.yolact import YOLACT
from solojax.models.bilinear_fpn import BilinearFPN
from solojax.models.context import ContextEncoder
from solojax.models.detector import Detector
from solojax.models.levels import Levels
from solojax.models.resnet import ResNet
from solojax.models.stdc import STDC
from solojax.ops import images
from solojax.parallel import AXIS
from tests import examples
from tests.heads.programs import equations
from tests.heads.recorded import value
from tests.heads.test_ablations import Shrunk

HEAD = {
    "num_classes": 3,
    "grid": examples.MODEL.head.grid,
    "width": 8,
    "depth": 1,
    "groups": 4,
    "max_positives": 40,
    "selection": examples.MODEL.head.selection,
}
MASKS = {"kernel_width": 8, "mask_feature_width": 8, "mask_levels": ("p2", "p3")}
BODY = examples.MODEL.backbone
BODIES = {
    "none": Shrunk(),
    "group": BODY,
    "sync": BODY.clone(norm="sync"),
    "frozen": BODY.clone(norm="frozen", variant="d"),
    "deform": ResNet(50, width=8, frozen_stages=0, deform="v2", deform_stages=(2,), variant="d"),
    "remat": BODY.clone(norm="sync", remat_stages=(1, 2, 3, 4)),
}


def model_of(head: Any, backbone: str = "group") -> Detector:
    return examples.MODEL.clone(head=head, backbone=BODIES[backbone])


SLOTS = {"num_classes": 3, "slots": 5, "width": 8, "depth": 1, "mask_width": 8, "kernel_width": 8}


def sparseinst(backbone: str, **fields: Any) -> Detector:
    neck = ContextEncoder(width=8, pool_width=4)
    return model_of(SparseInst(**SLOTS, **fields), backbone).clone(neck=neck)


def labeller(decoder: Any, backbone: Any = BODIES["none"]) -> Detector:
    losses = LabelObjective(stride=4, dice_weight=1, lovasz_weight=1, hard_share=0.1)
    head = Labeller(decoder, 3, objective=losses)
    return examples.MODEL.clone(backbone=backbone, neck=Levels(), head=head)


NORMED = {"norm": "group", "groups": 4}
MODELS = {
    "solo": model_of(SOLO(**HEAD), "sync"),
    "solo-v2": model_of(SOLO(**HEAD, deform="v2"), "none"),
    "decoupled": model_of(DecoupledSOLO(**HEAD), "none"),
    "decoupled-v2": model_of(DecoupledSOLO(**HEAD, deform="v2"), "frozen"),
    "light-remat": model_of(DecoupledSOLO(**HEAD, shared_trunk=True, remat=True), "remat"),
    "solov2": model_of(SOLOv2(**HEAD, **MASKS)),
    "solov2-v2": model_of(
        SOLOv2(**HEAD, **MASKS, deform="v2", deform_mask_features=True, drop_block=0.1), "deform"
    ),
    "solov2-separate": model_of(
        SOLOv2(**HEAD, **MASKS, features="separate", kernel_size=3), "none"
    ),
    "sparseinst": sparseinst("none"),
    "sparseinst-group": sparseinst("sync", activation="group", remat=True),
    "sparseinst-softmax": sparseinst("none", activation="group_softmax", norm_groups=4),
    "yolact": model_of(
        YOLACT(
            num_classes=3,
            anchors=Anchors(("p3", "p4", "p5"), ((16,), (32,), (64,)), (1,)),
            width=8,
            prototype_width=8,
            prototypes=4,
            rescoring_widths=(4,),
        )
    ).clone(neck=BilinearFPN(8, coarser_levels=0)),
    "fcn": labeller(FCN(8, auxiliary_width=8), BODY.clone(output_stride=8)),
    "unet": labeller(UNet((8, 8, 8), **NORMED)),
    "pspnet": labeller(PSPNet(8, auxiliary_width=8)),
    "deeplab": labeller(DeepLabV3Plus(8, low_width=8, norm="group", groups=1)),
    "pp-liteseg": labeller(PPLiteSeg(8, (1, 2), (8,) * 3, (8,) * 3), STDC(width=8)),
    "panoptic": model_of(
        Panoptic(SOLOv2(**HEAD, **MASKS), Labeller(PanopticFPN(8, groups=4), 3)), "none"
    ),
}
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def train(model: Detector, dtype: Any, variables: Any) -> Any:
    """Terms of the loss, gradients, outputs, changed statistics and answers of 8 images."""
    batch = examples.make_batch(8)

    def step(variables, pixels, sizes):
        x = images.normalize(pixels, sizes, dtype)
        targets = model.head.targets(examples.instances_for(model.head, 8), jax.random.key(0))

        def loss(params):
            given = {**variables, "params": params}
            rngs = {"dropout": jax.random.key(1)}
            outputs, changed = model.apply(given, x, train=True, mutable="batch_stats", rngs=rngs)
            terms = model.head.loss(outputs, targets)
            return sum(map(value, terms.values())), (terms, outputs, changed)

        gradients, (terms, outputs, changed) = jax.grad(loss, has_aux=True)(variables["params"])
        answers = []
        if finds_instances(model.head):
            found = model.head.detect(outputs)
            answers += [found.scores, found.masks]
        if labels_pixels(model.head):
            answers.append(model.head.label_logits(outputs))
        return terms, gradients, outputs, changed, answers

    mapped = jax.vmap(step, (None, 0, 0), axis_name=AXIS)  # for norm "sync"
    return mapped(variables, batch.images[None], batch.sizes[None])


@functools.cache
def shapes(model: Detector) -> Any:
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))


@functools.cache
def trace(model: Detector) -> tuple[Jaxpr, Any]:
    """The program of a bfloat16 training step with detection, and the shapes it gives."""
    run = functools.partial(train, model, jnp.bfloat16)
    program, found = jax.make_jaxpr(run, return_shape=True)(shapes(model))
    return program.jaxpr, found


def types(tree: Any) -> set[str]:
    return {leaf.dtype.name for leaf in jax.tree.leaves(tree)}


@each_model
def test_every_convolution_is_bfloat16_backwards_as_well(model):
    program, _ = trace(model)
    found = list(equations(program, "conv_general_dilated"))
    assert len(found) > (10 if isinstance(model.backbone, Shrunk) else 40)
    for each in found:
        assert types([v.aval for v in (*each.invars, *each.outvars)]) == {"bfloat16"}, each


@each_model
def test_norms_sum_in_float32(model):
    x = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.bfloat16)
    program = jax.make_jaxpr(model.apply)(shapes(model), x).jaxpr
    sums = list(equations(program, "reduce_sum"))
    assert len(sums) >= 4
    for each in sums:
        assert types([v.aval for v in each.invars]) == {"float32"}


@each_model
def test_what_is_summed_kept_or_looked_at_is_float32(model):
    _, (terms, gradients, _, changed, answers) = trace(model)
    assert types(shapes(model)) == types(gradients) == types(terms) == {"float32"}
    assert types(changed) <= {"float32"}
    assert types(answers) == {"float32"}
    assert jax.tree.map(jnp.shape, gradients) == jax.tree.map(
        lambda leaf: (1, *leaf.shape), shapes(model)["params"]
    )


@each_model
def test_what_the_network_predicts_is_bfloat16(model):
    _, (_, _, outputs, _, _) = trace(model)
    if isinstance(model.head, SOLO):  # whose mask layer is multiplied later
        assert types((outputs.mask_kernels, outputs.mask_biases)) == {"float32"}
        outputs = outputs[:2]
    assert types(outputs) == {"bfloat16"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["solo-v2", "decoupled", "solov2", "yolact", "sparseinst-group"])
def test_losses_and_gradients_are_close_to_those_in_float32(name):
    model = MODELS[name]
    rng = np.random.default_rng(0)

    def fill(path: tuple, leaf: Any) -> np.ndarray:
        if path[-1].key == "kernel":
            return rng.normal(0, 0.1, leaf.shape).astype(np.float32)
        return np.full(leaf.shape, path[-1].key in ("scale", "var"), np.float32)

    variables = jax.tree.map_with_path(fill, shapes(model))
    (losses, gradients), (exact_losses, exact_gradients) = (
        jax.jit(lambda v, dtype=dtype: train(model, dtype, v)[:2])(variables)
        for dtype in (jnp.bfloat16, jnp.float32)
    )
    for term, exact in exact_losses.items():
        np.testing.assert_allclose(losses[term].total, exact.total, rtol=0.01)
        assert losses[term].count == exact.count
    found, exact = (
        np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(jax.device_get(tree))])
        for tree in (gradients, exact_gradients)
    )
    # Rounding the weights once, in float32, changes them by half as much: a ReLU has a corner.
    assert np.linalg.norm(found - exact) < 0.15 * np.linalg.norm(exact)
