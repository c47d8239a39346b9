"""What the head that labels pixels minimises, and the head that is made of it and another."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax import config as config_lib
from solojax.heads.fcn import FCN
from solojax.heads.grid import grid_of
from solojax.heads.labeller import Labeller, LabelObjective, Outputs
from solojax.heads.panoptic import Panoptic
from solojax.heads.panoptic_fpn import PanopticFPN
from solojax.heads.selection import selection_of
from solojax.types import IGNORED, InputError
from tests import examples

FEW = {"norm": "group", "groups": 2}
HEAD = Labeller(
    FCN(4, auxiliary_width=2, **FEW),
    num_labels=3,
    objective=LabelObjective(
        stride=4, dice_weight=0.5, lovasz_weight=2.0, auxiliary_weight=0.25, hard_share=0.25
    ),
)
PANOPTIC = Panoptic(examples.MODEL.head, Labeller(PanopticFPN(4, ("p2", "p3"), **FEW)))


@pytest.fixture(scope="module")
def outputs() -> Outputs:
    rng = np.random.default_rng(0)
    sizes = ((8, 8), (16, 16))
    logits, other = (rng.normal(0, 2, (4, *size, 3)).astype(np.float32) for size in sizes)
    return Outputs(logits, (other,))


def targets_of(labels: np.ndarray, head: Labeller = HEAD):
    instances = examples.make_instances(len(labels))._replace(label_maps={4: jnp.asarray(labels)})
    return head.targets(instances, jax.random.key(0))


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    labels = np.random.default_rng(1).integers(0, 3, (4, 16, 16)).astype(np.uint8)
    labels[:, 3:6] = IGNORED
    labels[1] = np.where(labels[1] == 2, 0, labels[1])
    return labels


@jax.jit
def loss(outputs, labels):
    return {name: mean[:2] for name, mean in HEAD.loss(outputs, targets_of(labels)).items()}


def test_terms_of_a_batch_are_the_sums_of_those_of_its_parts(outputs, labels):
    whole = loss(outputs, labels)
    parts = [loss(*jax.tree.map(lambda x, i=i: x[i : i + 2], (outputs, labels))) for i in (0, 2)]
    assert set(whole) == {"cross_entropy", "dice", "lovasz", "auxiliary"}
    for name, mean in whole.items():
        for found, *some in zip(mean, *(part[name] for part in parts), strict=True):
            np.testing.assert_allclose(sum(some), found, rtol=1e-5, err_msg=name)
    pixels = (labels != IGNORED).sum()
    assert whole["cross_entropy"][1] == whole["auxiliary"][1] == pixels == 4 * 13 * 16
    assert whole["dice"][1] == whole["lovasz"][1] == 11  # classes that are there


def test_cross_entropy_is_of_the_hard_pixels_at_the_size_of_the_labels(outputs, labels):
    """Which the auxiliary logits have."""
    logits = np.asarray(outputs.auxiliary[0], np.float64)
    log = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    own = np.take_along_axis(log, np.minimum(labels, 2)[..., None].astype(int), -1)[..., 0]
    expected = 0.0
    for image, known in zip(own, labels != IGNORED, strict=True):
        last = np.sort(image[known])[64 - 1]
        expected -= image[known & ((image < np.log(0.7)) | (image <= last))].sum()
    np.testing.assert_allclose(loss(outputs, labels)["auxiliary"][0], 0.25 * expected, rtol=1e-5)


def test_nothing_labelled_costs_nothing_and_has_finite_gradients(outputs, labels):
    nothing = np.full_like(labels, IGNORED)

    def total(outputs: Outputs) -> jax.Array:
        return sum(term[0] for term in loss(outputs, nothing).values())

    gradient, terms = jax.jit(jax.grad(total))(outputs), loss(outputs, nothing)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert all(total == count == 0 for total, count in terms.values())


def test_a_weight_of_nothing_leaves_a_loss_out(outputs, labels):
    head = HEAD.clone(objective=LabelObjective(4, lovasz_weight=1, cross_entropy_weight=0))
    plain = head.clone(objective=LabelObjective(4, auxiliary_weight=0))
    for some, names in ((head, {"lovasz", "auxiliary"}), (plain, {"cross_entropy"})):
        assert set(jax.eval_shape(some.loss, outputs, targets_of(labels, some))) == names


def test_the_share_that_is_labelled_is_logged(labels):
    total, count = targets_of(labels).metrics["labelled"][:2]
    assert total / count == 13 / 16


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Labeller(FCN(), 0), "head.num_labels=0 must be at least 1"),
        (lambda: Labeller(FCN(), 255), r"head.num_labels=255 must be in 1\.\.254"),
        (lambda: Labeller(FCN(), dropout=1), "head.dropout=1.0 must be at least 0 and below 1"),
        (lambda: LabelObjective(hard_share=2), r"head.objective.hard_share=2.0 must be in 0\.\.1"),
        (lambda: LabelObjective(cross_entropy_weight=0), "the weights of cross entropy, dice and"),
        (lambda: Panoptic(HEAD, HEAD), "things=Labeller must find instances, and stuff=Labeller"),
    ],
)
def test_what_cannot_work_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_training_drops_whole_channels_of_features():
    head = Labeller(_AsItIs(), 8, dropout=0.5)
    # Each label is a channel of the features.
    params = {"label_predictor": {"kernel": jnp.eye(8)[None, None], "bias": jnp.zeros(8)}}
    pyramid = {"p5": jnp.ones((1, 2, 2, 8))}
    plain = head.apply({"params": params}, pyramid).logits
    np.testing.assert_array_equal(plain, 1)
    rngs = {"dropout": jax.random.key(0)}
    found = head.apply({"params": params}, pyramid, train=True, rngs=rngs).logits
    assert set(np.unique(found)) == {0, 2} and (found == found[:, :1, :1]).all()


class _AsItIs(nn.Module):
    @nn.compact
    def __call__(self, pyramid, train=False):
        return pyramid["p5"], ()


def test_a_panoptic_head_is_what_its_parts_are():
    things = PANOPTIC.things
    assert grid_of(PANOPTIC) == things.grid and selection_of(PANOPTIC) == things.selection
    assert PANOPTIC.mask_strides == things.mask_strides and PANOPTIC.label_strides == (1,)
    instances = examples.instances_for(PANOPTIC, 2)
    pyramid = {p: jnp.zeros((2, side, side, 8)) for p, side in (("p2", 16), ("p3", 8))}

    def run(pyramid):
        outputs, variables = PANOPTIC.init_with_output(jax.random.key(0), pyramid)
        targets = PANOPTIC.targets(instances, jax.random.key(0))
        ours = PANOPTIC.loss(outputs, targets), targets.metrics
        of_things = things.loss(outputs.things, targets.things), targets.things.metrics
        return variables, ours, of_things, PANOPTIC.label_logits(outputs)

    variables, ours, of_things, logits = jax.eval_shape(run, pyramid)
    assert set(variables["params"]) == {"things", "stuff"}
    assert logits.shape == (2, 16, 16, 19)
    for all_of_them, some, more in zip(
        ours, of_things, ("stuff_cross_entropy", "stuff_labelled"), strict=True
    ):
        assert set(all_of_them) == {*some, more}


def test_overrides_and_json_reach_the_parts_of_a_panoptic_head():
    model = examples.MODEL.clone(head=PANOPTIC)
    config = config_lib.Config(model, data=config_lib.Data(canvases=((64, 64),)))
    changed = config_lib.override(
        config,
        "model.head.things.max_positives=7",
        "model.head.stuff.decoder.width=6",
        "model.head.stuff.objective.lovasz_weight=1",
    )
    head = changed.model.head
    assert head.things == PANOPTIC.things.clone(max_positives=7)
    assert head.stuff.decoder.width == 6 and head.stuff.objective.lovasz_weight == 1
    assert config_lib.from_json(config_lib.to_json(changed), "a run") == changed
    some = tuple(config_lib.Category(i, str(i)) for i in range(5))
    classes = config_lib.with_categories(changed, some[:2], some[2:]).model.head
    assert (classes.num_classes, classes.num_labels) == (2, 5)
