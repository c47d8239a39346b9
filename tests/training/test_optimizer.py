from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from solojax.config import Optimizer
from solojax.models.detector import Detector
from solojax.models.fpn import FPN
from solojax.models.layers import Norm
from solojax.models.resnet import ResNet
from solojax.training import optimizer
from solojax.types import InputError
from tests import examples

PUBLISHED = Optimizer()


def schedule_of(settings: Optimizer, **sizes: int):
    return optimizer.make_schedule(settings, **sizes)


@pytest.mark.parametrize(("batch_size", "expected"), [(16, 0.01), (2, 0.00125), (64, 0.04)])
def test_learning_rate_scales_linearly_with_the_batch(batch_size, expected):
    found = optimizer.scaled_learning_rate(PUBLISHED, batch_size)
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("batch_size", [1, 16, 64])
def test_a_base_batch_size_of_0_leaves_the_rate_as_it_is(batch_size):
    settings = Optimizer(learning_rate=0.03, base_batch_size=0)
    assert optimizer.scaled_learning_rate(settings, batch_size) == 0.03


def test_the_published_schedule_warms_up_and_drops_at_epochs_27_and_33():
    rate = schedule_of(PUBLISHED, batch_size=16, steps=36 * 1000, steps_per_epoch=1000)
    for step, expected in [
        (0, 1e-4),
        (250, 1e-4 + (1e-2 - 1e-4) / 2),
        (500, 1e-2),
        (26_999, 1e-2),
        (27_001, 1e-3),
        (32_999, 1e-3),
        (33_001, 1e-4),
        (35_999, 1e-4),
    ]:
        np.testing.assert_allclose(rate(step), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("epochs", "drops"),
    [
        (12, (8, 11)),
        (12, (9, 11)),
        (24, (16, 22)),
        (36, (27, 33)),
        (36, (24, 33)),
        (72, (60, 66)),
        (12, (7.5,)),
        (12, ()),
    ],
    ids=str,
)
def test_the_rate_falls_to_a_tenth_with_the_first_step_behind_each_drop(epochs, drops):
    settings = Optimizer(drop_epochs=drops, learning_rate=0.02)
    rate = schedule_of(settings, batch_size=16, steps=epochs * 1000, steps_per_epoch=1000)
    borders = [500, *(round(1000 * drop) for drop in drops), epochs * 1000]
    for number, (first, last) in enumerate(zip(borders, borders[1:], strict=False)):
        for step in (first, last - 1):
            np.testing.assert_allclose(rate(step), 0.02 * 0.1**number, rtol=1e-5)


def test_a_drop_that_is_never_reached_changes_nothing():
    settings = Optimizer(drop_epochs=(1, 1e30), warmup_steps=0)
    rate = schedule_of(settings, batch_size=16, steps=2000, steps_per_epoch=1000)
    assert [float(rate(step)) for step in (999, 1999)] == pytest.approx([0.01, 0.001])


@pytest.mark.parametrize("epochs", [12, 24, 36, 72])
def test_the_cosine_is_at_half_of_the_rate_half_way(epochs):
    steps = epochs * 1000
    settings = Optimizer(schedule="cosine", warmup_steps=1000, warmup_factor=0)
    rate = schedule_of(settings, batch_size=16, steps=steps, steps_per_epoch=1000)
    halfway = (1000 + steps) // 2
    for step, expected in [(0, 0), (500, 0.005), (1000, 0.01), (halfway, 0.005), (steps, 0)]:
        np.testing.assert_allclose(rate(step), expected, rtol=1e-4, atol=1e-8)


def test_the_cosine_ends_at_zero():
    settings = Optimizer(schedule="cosine", warmup_steps=10)
    rate = schedule_of(settings, batch_size=16, steps=110, steps_per_epoch=1)
    np.testing.assert_allclose(rate(10), 0.01, rtol=1e-6)
    np.testing.assert_allclose(rate(60), 0.005, rtol=1e-5)
    np.testing.assert_allclose(rate(110), 0, atol=1e-9)


def test_the_power_is_of_the_share_of_the_steps_that_is_left():
    settings = Optimizer(schedule="poly", warmup_steps=10)
    rate = schedule_of(settings, batch_size=16, steps=110, steps_per_epoch=1)
    found = [float(rate(step)) for step in (10, 60, 100, 110)]
    np.testing.assert_allclose(found, [0.01, 0.01 * 0.5**0.9, 0.01 * 0.1**0.9, 0], rtol=1e-5)


def test_a_short_run_still_reaches_its_full_rate():
    rate = schedule_of(PUBLISHED, batch_size=16, steps=100, steps_per_epoch=1000)
    assert max(float(rate(step)) for step in range(100)) == pytest.approx(0.01)


def updates_for(
    settings: Optimizer,
    gradient: float,
    frozen_stages: int = 0,
    norm: Norm = "frozen_statistics",
):
    """Updates of parameters that are all 1, at a learning rate of 1."""
    conv = {"kernel": jnp.ones((3, 3, 2, 2))}
    affine = {"scale": jnp.ones(2), "bias": jnp.ones(2)}
    params = {
        "backbone": {
            "conv1": conv,
            "bn1": affine,
            "layer1_0": {"conv1": conv, "bn1": affine},
            "layer2_0": {"conv1": conv, "bn1": affine},
        },
        "neck": {"lateral_c2": conv},
        "head": {"kernel_predictor": conv},
    }
    backbone = ResNet(18, norm=norm, frozen_stages=frozen_stages)
    model = Detector(backbone, FPN(), examples.MODEL.head)
    tx = optimizer.make_optimizer(settings, optax.constant_schedule(1.0), model)
    gradients = jax.tree.map(lambda x: jnp.full_like(x, gradient), params)
    updates, _ = tx.update(gradients, tx.init(params), params)
    return updates


def test_frozen_parameters_do_not_decay():
    updates = updates_for(Optimizer(weight_decay=0.1), gradient=0, frozen_stages=1)
    moved = {
        name: float(np.max(np.abs(jax.tree.leaves(tree)[0])))
        for name, tree in {**updates["backbone"], **updates["neck"]}.items()
    }
    still = dict.fromkeys(("conv1", "bn1", "layer1_0"), 0)
    assert moved == pytest.approx({**still, "layer2_0": 0.1, "lateral_c2": 0.1})


@pytest.mark.parametrize(("norm", "moved"), [("frozen", 0), ("frozen_statistics", 0.1)])
def test_only_norms_that_are_frozen_altogether_do_not_decay(norm, moved):
    updates = updates_for(Optimizer(weight_decay=0.1), gradient=0, norm=norm)
    for name in ("bn1", "layer1_0", "layer2_0"):
        tree = updates["backbone"][name]
        for leaf in jax.tree.leaves(tree.get("bn1", tree)):
            np.testing.assert_allclose(leaf, -moved, rtol=1e-6)
    for kernel in (updates["backbone"]["conv1"], updates["backbone"]["layer2_0"]["conv1"]):
        np.testing.assert_allclose(kernel["kernel"], -0.1, rtol=1e-6)


@pytest.mark.parametrize("algorithm", ["sgd", "adamw"])
def test_frozen_norms_stay_whatever_their_gradient(algorithm):
    settings = Optimizer(algorithm=algorithm, weight_decay=0.1)
    updates = updates_for(settings, gradient=1, norm="frozen")
    for leaf in jax.tree.leaves(updates["backbone"]["layer2_0"]["bn1"]):
        np.testing.assert_array_equal(leaf, 0)


def test_norms_and_biases_need_not_decay():
    settings = Optimizer(weight_decay=0.1, decay_norms=False, decay_biases=False)
    updates = updates_for(settings, gradient=0)
    for leaf in jax.tree.leaves(updates):
        np.testing.assert_allclose(leaf, -0.1 if leaf.ndim > 1 else 0, rtol=1e-6)


def test_gradients_are_clipped_by_their_global_norm():
    settings = Optimizer(weight_decay=0, clip_norm=2)
    updates = updates_for(settings, gradient=1)
    np.testing.assert_allclose(optax.tree.norm(updates), 2, rtol=1e-5)


def test_gradients_are_not_clipped_at_a_norm_of_0():
    settings = Optimizer(weight_decay=0, clip_norm=0)
    for leaf in jax.tree.leaves(updates_for(settings, gradient=1e6)):
        np.testing.assert_allclose(leaf, -1e6, rtol=1e-6)


NORM = {"scale": 1.0, "bias": 1.0}
DEFORM = {"kernel": 1.0, "offset": {"kernel": 1.0, "bias": 1.0}}
PARAMS = {
    "backbone": {
        "layer2_0": {"conv1": {"kernel": 1.0}, "bn1": NORM},
        "layer3_0": {"conv2": DEFORM},
    },
    "neck": {"lateral_c2": {"kernel": 1.0, "bias": 1.0}},
    "head": {"trunk": {"conv": DEFORM, "norm": NORM}},
}
PATHS = tuple(traverse_util.flatten_dict(PARAMS, sep="/"))


def make(**settings: Any) -> optax.GradientTransformation:
    """At a rate of 0.5, over a backbone that freezes nothing by itself."""
    model = Detector(ResNet(18, frozen_stages=0), FPN(), examples.MODEL.head)
    return optimizer.make_optimizer(Optimizer(**settings), optax.constant_schedule(0.5), model)


def train(steps: int, gradient: float, **settings: Any) -> dict[str, float]:
    """What PARAMS are after steps of a constant gradient, by path."""
    tx, params = make(clip_norm=0, **settings), jax.tree.map(jnp.float32, PARAMS)
    state, update = tx.init(params), jax.jit(tx.update)
    for _ in range(steps):
        gradients = jax.tree.map(lambda x: jnp.full_like(x, gradient), params)
        updates, state = update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    return {path: float(leaf) for path, leaf in traverse_util.flatten_dict(params, sep="/").items()}


def decayed(**settings: Any) -> set[str]:
    """The paths of PARAMS that a step without gradient takes 0.5 * 0.1 from; the others stay."""
    found = train(1, gradient=0, weight_decay=0.1, **settings)
    paths = {path for path in PATHS if found[path] != 1}
    assert {path: found[path] for path in paths} == pytest.approx(dict.fromkeys(paths, 0.95))
    return paths


def paths_under(start: str) -> set[str]:
    return {path for path in PATHS if path.startswith(start)}


NORMS = {path for path in PATHS if "bn1" in path or "norm" in path}
BIASES = {path for path in PATHS if path.endswith("bias")} - NORMS
OFFSET_BIASES = {path for path in PATHS if path.endswith("offset/bias")}


@pytest.mark.parametrize("algorithm", ["sgd", "adamw"])
@pytest.mark.parametrize(
    ("settings", "undecayed"),
    [
        ({}, set()),
        ({"decay_norms": False}, NORMS),
        ({"decay_biases": False}, BIASES),
        ({"decay_norms": False, "decay_biases": False}, NORMS | BIASES),
        ({"undecayed": ("*/offset/bias",)}, OFFSET_BIASES),
        ({"undecayed": ("*/offset/bias", "neck/*")}, OFFSET_BIASES | paths_under("neck/")),
        ({"undecayed": ("head/*/offset/bias",)}, {"head/trunk/conv/offset/bias"}),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",  # sets have no order
)
def test_norms_biases_and_patterns_are_kept_from_decay_each_by_itself(
    algorithm, settings, undecayed
):
    assert decayed(algorithm=algorithm, **settings) == set(PATHS) - undecayed


def test_a_norm_keeps_its_decay_where_its_scale_is_frozen():
    """The bias beside a scale stays that of a norm."""
    found = decayed(decay_biases=False, rate_factors=(("*/scale", 0),))
    assert found == {path for path in PATHS if not path.endswith("scale")} - BIASES


# Of a gradient of 1: 1, then 1.9 and 2.71 with momentum; Adam divides by its length.
@pytest.mark.parametrize(("algorithm", "way"), [("sgd", 1 + 1.9 + 2.71), ("adamw", 3)])
def test_a_factor_of_a_tenth_moves_a_tenth(algorithm, way):
    found = train(
        3,
        gradient=1,
        algorithm=algorithm,
        weight_decay=0,
        rate_factors=(("backbone/layer2_*", 0.1), ("head/*", 2)),
    )
    factors = dict.fromkeys(PATHS, 1.0)
    factors |= dict.fromkeys(paths_under("backbone/layer2_"), 0.1)
    factors |= dict.fromkeys(paths_under("head/"), 2)
    wanted = {path: 1 - 0.5 * way * factor for path, factor in factors.items()}
    assert found == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    ("algorithm", "whole", "tenth"),
    [
        # Momentum holds .9 * .1 + .1 * .95 at the second step, .9 * .1 + .1 * .995 with a tenth.
        ("sgd", 0.95 - 0.5 * 0.185, 0.995 - 0.05 * 0.1895),
        ("adamw", 0.95**2, 0.995**2),
    ],
)
def test_a_factor_counts_for_the_decay_as_well(algorithm, whole, tenth):
    factors = (("backbone/*", 0.1),)
    found = train(2, gradient=0, algorithm=algorithm, weight_decay=0.1, rate_factors=factors)
    wanted = dict.fromkeys(PATHS, whole) | dict.fromkeys(paths_under("backbone/"), tenth)
    assert found == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("algorithm", ["sgd", "adamw"])
def test_a_factor_of_0_freezes_and_keeps_no_moments(algorithm):
    settings = {"algorithm": algorithm, "weight_decay": 0.1}
    factors = (("backbone/*", 0), ("neck/lateral_c2/kernel", 0))
    found = train(3, gradient=1, **settings, rate_factors=factors)
    still = {path for path in PATHS if found[path] == 1}
    assert still == paths_under("backbone/") | {"neck/lateral_c2/kernel"}
    sizes = [
        len(jax.tree.leaves(make(**settings, rate_factors=some).init(PARAMS)))
        for some in ((), factors)
    ]
    moments = {"sgd": 1, "adamw": 2}[algorithm]
    assert sizes[0] - sizes[1] == moments * len(still)


def test_frozen_gradients_do_not_count_for_the_clip():
    tx = make(weight_decay=0, clip_norm=1, rate_factors=(("backbone/*", 0), ("neck/*", 0)))
    params = jax.tree.map(jnp.float32, PARAMS)
    gradients = jax.tree.map(lambda x: 3 * x, params)
    updates, _ = tx.update(gradients, tx.init(params), params)
    np.testing.assert_allclose(optax.tree.norm(updates), 0.5, rtol=1e-6)


def test_the_first_pattern_that_fits_decides():
    factors = (("*/offset/*", 1), ("backbone/*", 0.5), ("*", 3))
    found = train(1, gradient=1, weight_decay=0, rate_factors=factors)
    wanted = dict.fromkeys(PATHS, 1 - 0.5 * 3) | dict.fromkeys(paths_under("backbone/"), 0.75)
    wanted |= {path: 0.5 for path in PATHS if "/offset/" in path}
    assert found == pytest.approx(wanted)


@pytest.mark.parametrize("algorithm", ["sgd", "adamw"])
def test_a_factor_of_1_changes_nothing(algorithm):
    settings = {"algorithm": algorithm, "weight_decay": 0.1}
    without = train(3, gradient=0.3, **settings)
    assert train(3, gradient=0.3, **settings, rate_factors=(("*", 1),)) == without


@pytest.mark.parametrize("algorithm", ["sgd", "adamw"])
def test_factors_above_0_and_the_clip_leave_the_state_its_shape(algorithm):
    """So that a run may go on with others."""
    published, other = (
        make(algorithm=algorithm, **settings).init(PARAMS)
        for settings in ({}, {"rate_factors": (("backbone/*", 0.1),), "clip_norm": 0})
    )
    assert jax.tree.structure(other) == jax.tree.structure(published)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"rate_factors": (("neck/*", 2), ("backbone/layr3_*", 0.1))}, "rate_factors"),
        ({"undecayed": ("neck/*", "backbone/layr3_*")}, "undecayed"),
        ({"algorithm": "muon", "by_adam": ("backbone/layr3_*",)}, "by_adam"),
    ],
    ids=["rate_factors", "undecayed", "by_adam"],
)
def test_a_pattern_that_fits_nothing_is_refused_with_the_nearest_paths(settings, field):
    tx = make(**settings)
    message = (
        rf"optimizer\.{field}: .backbone/layr3_\*. fits no parameter; .*backbone/layer3_0/conv2"
    )
    with pytest.raises(InputError, match=message):
        tx.init(PARAMS)
    with pytest.raises(InputError, match="fits no parameter"):
        jax.eval_shape(tx.init, PARAMS)


def test_a_factor_that_comes_too_late_is_refused():
    tx = make(rate_factors=(("backbone/*", 0.1), ("backbone/*/offset/*", 1)))
    with pytest.raises(InputError, match=r"'backbone/\*/offset/\*' decides nothing"):
        tx.init(PARAMS)


def test_patterns_are_of_whole_paths_and_heed_case():
    for pattern in ("layer2_0", "layer2_0/*", "Neck/*", "neck", "neck/"):
        with pytest.raises(InputError, match="fits no parameter"):
            make(undecayed=(pattern,)).init(PARAMS)


KERNELS = {
    "backbone": {"layer2_0": {"conv1": {"kernel": jnp.ones((3, 3, 4, 6))}, "bn1": NORM}},
    "head": {
        "kernel_predictor": {"kernel": jnp.ones((1, 1, 6, 8)), "bias": jnp.ones(8)},
        "linear": {"kernel": jnp.ones((5, 3))},
        "stack": {"kernel": jnp.ones((2, 5, 3))},  # as layers of one shape are packed
    },
}


def moved_by_muon(gradients: Any, **settings: Any) -> dict[str, np.ndarray]:
    """How far a step at a rate of 0.5 takes KERNELS, by path."""
    tx = make(algorithm="muon", clip_norm=0, **settings)
    params = jax.tree.map(jnp.float32, KERNELS)
    updates, _ = jax.jit(tx.update)(gradients, tx.init(params), params)
    flat = traverse_util.flatten_dict(updates, sep="/")
    return {path: np.asarray(update) for path, update in flat.items()}


@pytest.fixture(scope="module")
def noise() -> Any:
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: rng.normal(size=np.shape(x)).astype(np.float32), KERNELS)


def test_muon_moves_kernels_by_the_nearest_orthogonal_matrix_and_the_rest_by_adam(noise):
    gradients = traverse_util.flatten_dict(noise, sep="/")
    for path, moved in moved_by_muon(noise, weight_decay=0).items():
        if not path.endswith("kernel"):
            np.testing.assert_allclose(moved, -0.5 * 0.4 * np.sign(gradients[path]), rtol=1e-4)
            continue
        stacked = moved.reshape(2 if "stack" in path else 1, -1, moved.shape[-1])
        for step, gradient in zip(stacked, gradients[path].reshape(stacked.shape), strict=True):
            left, lengths, right = np.linalg.svd(gradient, False)
            # Wide ones, which have more outputs than inputs, go further.
            length = -0.5 * max(1, step.shape[1] / step.shape[0]) ** 0.5
            along = np.einsum("ik,ij,kj->k", left, step, right) / length
            # Five iterations of Newton and Schulz bring lengths near 1, not to it.
            assert lengths.max() > 2 * lengths.min() or len(lengths) < 5
            assert (0.6 < along).all() and (along < 1.3).all()
            norms = np.linalg.norm(step / length), np.linalg.norm(along)
            np.testing.assert_allclose(*norms, rtol=1e-4)


def test_muon_heeds_decay_factors_and_what_is_frozen(noise):
    still = jax.tree.map(jnp.zeros_like, noise)
    settings = {"weight_decay": 0.1, "decay_norms": False, "undecayed": ("*/bias",)}
    for path, moved in moved_by_muon(still, **settings).items():
        np.testing.assert_allclose(moved, -0.05 if path.endswith("kernel") else 0, atol=1e-7)
    whole = moved_by_muon(noise)
    part = moved_by_muon(noise, rate_factors=(("backbone/*", 0.1), ("*/bias", 0)))
    for path, moved in whole.items():
        factor = 0.1 if path.startswith("backbone/") else 0 if path.endswith("bias") else 1
        np.testing.assert_allclose(part[path], factor * moved, rtol=1e-5, atol=1e-7)


def test_kernels_that_are_adams_move_by_it_and_the_others_as_before(noise):
    whole = moved_by_muon(noise, weight_decay=0)
    part = moved_by_muon(noise, weight_decay=0, by_adam=("backbone/*",))
    gradients = traverse_util.flatten_dict(noise, sep="/")
    for path, moved in part.items():
        if path.startswith("backbone/"):
            np.testing.assert_allclose(moved, -0.5 * 0.4 * np.sign(gradients[path]), rtol=1e-4)
        else:
            np.testing.assert_array_equal(moved, whole[path])
