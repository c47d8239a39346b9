"""Parity with the recorded tiny YOLACT and YOLACT++, from image to masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax.ops import hard_negatives, prototypes
from tests.conftest import FIXTURES
from tests.heads import recorded, recorded_yolact
from tests.heads.recorded_yolact import Recorded

pytestmark = pytest.mark.slow
hardest = jax.jit(hard_negatives.hardest, static_argnames="per_positive")


NAMES = ("tiny_yolact", "tiny_yolact_pp")


def those_with(key: str) -> pytest.MarkDecorator:
    """For tests of what only some of the files hold."""
    names = [name for name in NAMES if key in np.load(FIXTURES / f"{name}.npz").files]
    return pytest.mark.parametrize("tiny", names, indirect=True)


@pytest.fixture(scope="module", params=NAMES)
def tiny(request):
    return Recorded(request.param)


@pytest.fixture(scope="module")
def variables(tiny):
    return tiny.variables()


@pytest.fixture(scope="module")
def instances(tiny):
    return tiny.instances()


@pytest.fixture(scope="module")
def found(tiny, variables, instances):
    return recorded_yolact.run(tiny.model, variables, tiny.inputs, instances)


@pytest.fixture(scope="module")
def alone(tiny, found, instances):
    return recorded_yolact.one_by_one(tiny.head, found, instances)


def test_features_equal_the_recorded_ones(tiny, found):
    for part in ("backbone", "neck"):
        for level, features in found.features[part].items():
            if level != "c2":
                tiny.check(f"feat/{level}", features)


def test_outputs_equal_the_recorded_ones(tiny, found):
    outputs = found.outputs
    tiny.check("feat/loc", outputs.code)
    tiny.check("feat/conf_logits", outputs.class_logits)
    tiny.check("feat/coeff", outputs.coefficients)
    tiny.check("feat/proto", outputs.prototypes, channels_last=True)
    tiny.check("feat/segm_logits", outputs.semantic_logits)


def test_anchors_equal_the_recorded_ones(tiny):
    expected = tiny.numbers["feat/priors"]
    anchors = tiny.head.anchors.boxes((tiny.side, tiny.side))
    np.testing.assert_allclose(anchors, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("b", [0, 1])
def test_targets_equal_the_recorded_ones(tiny, found, b):
    targets, recorded_of = found.targets, lambda name: tiny.numbers[f"tgt{b}/{name}"]
    np.testing.assert_array_equal(targets.labels[b], recorded_of("conf_t"))
    where = recorded_of("pos")
    np.testing.assert_allclose(targets.code[b][where], recorded_of("loc_t_pos"), atol=1e-4)

    positives = targets.positives
    valid = np.asarray(positives.valid[b])
    order = np.argsort(positives.anchors[b][valid])
    chosen = [np.asarray(x[b])[valid][order] for x in positives[:4]]
    np.testing.assert_array_equal(chosen[0], where)
    np.testing.assert_array_equal(chosen[1], recorded_of("idx_t")[where])
    np.testing.assert_allclose(chosen[3], recorded_of("gt_box_pos"), atol=1e-6)

    masks, small = recorded_of("masks_proto"), recorded_of("masks_p3")
    np.testing.assert_array_equal(targets.masks[b, : len(masks)], masks)
    labels = tiny.numbers[f"gt{b}/labels"][: len(small)]
    union = np.zeros((*small.shape[1:], tiny.head.num_classes), np.uint8)
    for mask, label in zip(small, labels, strict=True):
        union[..., label] |= mask
    np.testing.assert_array_equal(targets.semantic[b], union)


@pytest.mark.parametrize("b", [0, 1])
def test_hardest_negatives_equal_the_recorded_ones(tiny, found, b):
    kinds = jnp.minimum(found.targets.labels[b], 1)
    chosen = hardest(found.outputs.class_logits[b], kinds, per_positive=tiny.settings["negpos"])
    np.testing.assert_array_equal(np.flatnonzero(chosen), tiny.numbers[f"tgt{b}/ohem_neg"])


@those_with("tgt/maskiou_target")
def test_what_is_rescored_and_the_ious_it_has_equal_the_recorded_ones(tiny, found):
    labels, sums, ious = [], [], []
    for b in range(2):
        positives = jax.tree.map(lambda x, b=b: np.asarray(x[b]), found.targets.positives)
        order = np.argsort(np.where(positives.valid, positives.anchors, len(found.outputs.code[b])))
        order = order[: positives.valid.sum()]
        wanted = np.asarray(found.targets.masks[b])[positives.instances[order]]
        masks = found.masks[b][order]
        used = wanted.sum((1, 2)) > tiny.head.objective.least_rescored
        labels.append(positives.labels[order][used])
        sums.append(np.asarray(masks).sum((1, 2))[used])
        ious.append(np.asarray(prototypes.binary_iou(masks, jnp.asarray(wanted)))[used])
    for name, parts in (("label", labels), ("input_sum", sums), ("target", ious)):
        expected = tiny.numbers[f"tgt/maskiou_{name}"]
        np.testing.assert_allclose(np.concatenate(parts), expected, rtol=1e-4)


def test_losses_equal_the_recorded_ones(tiny, found):
    tiny.check_losses("loss", found.terms)


def test_gradients_equal_the_recorded_ones(tiny, found):
    tiny.check_gradients(found.gradients)


@pytest.mark.parametrize("b", [0, 1])
def test_losses_of_one_image_equal_the_recorded_ones(tiny, alone, b):
    tiny.check_losses(f"loss_img{b}", alone[b].terms)


def test_an_image_without_instances_has_a_semantic_loss_alone_and_finite_gradients(alone):
    terms, gradients, _ = alone["nothing"]
    assert terms.pop("semantic").total > 0
    assert all(term.total == term.count == 0 for term in terms.values())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


@those_with("bn_train/loss/B")
def test_a_step_on_the_statistics_of_the_batch_equals_the_recorded_one(tiny, variables, instances):
    terms, gradients, batch_stats = recorded_yolact.train(
        tiny.model, variables, tiny.inputs, instances
    )
    tiny.check_losses("bn_train/loss", terms, rtol=1e-4)
    tiny.check_gradients(gradients, "bn_train/grad", rtol=1e-3)
    tiny.check_statistics(batch_stats)


@pytest.mark.parametrize("b", [0, 1])
def test_detections_equal_the_recorded_ones(tiny, found, b):
    tiny.check_detections(found.detections, b)


@pytest.mark.parametrize("b", [0, 1])
def test_boxes_that_suppress_those_of_all_classes_are_the_recorded_ones(tiny, found, b):
    tiny.check_boxes(found.cross_class, b, f"det_cc{b}")


@pytest.mark.parametrize("b", [0, 1])
def test_detections_of_a_batch_equal_those_of_its_images(found, alone, b):
    recorded.check_batch_is_its_images(found.detections, alone[b].detections, b)
