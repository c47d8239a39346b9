"""The loop on a handful of drawn images, in this process."""

import dataclasses
import json
import os
import pickle
import shutil
import signal
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax import config as config_lib
from solojax import parallel
from solojax.data import synthetic
from solojax.data.records import coco
from solojax.training import checkpoint, loop, out_of_memory
from solojax.types import InputError, Terminated
from tests import examples
from tests import quick as quick_steps


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> config_lib.Config:
    folder = tmp_path_factory.mktemp("loop")
    synthetic.draw_shapes(folder / "shapes", train=20, val=4, processes=1)
    config = examples.make_config(folder, steps=6)
    return config_lib.with_categories(config, records_of(config).categories)


@pytest.fixture(scope="module", autouse=True)
def traced_once():
    """One update, traced and compiled once, for all trainings whose step is that of ``config``."""
    with pytest.MonkeyPatch.context() as patch:
        quick_steps.share(patch.setattr)
        yield


def records_of(config: config_lib.Config) -> coco.Records:
    return coco.prepare(config.data, "train")


def train(config: config_lib.Config, workdir, **options):
    return loop.train(config, records_of(config), workdir, **options)


def losses_of(workdir) -> dict[int, float]:
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


@pytest.fixture(scope="module")
def straight(config, tmp_path_factory):
    """A run from the beginning to the end."""
    workdir = tmp_path_factory.mktemp("straight")
    calls = []
    training = dataclasses.replace(config.training, evaluate_every=3)
    state = train(
        dataclasses.replace(config, training=training),
        workdir,
        evaluate=lambda state: calls.append(int(state.step)) or loop.Scores({"AP": 0.5}, {}),
    )
    return workdir, state, calls


def test_a_run_leaves_config_metrics_events_and_checkpoints(config, straight):
    workdir, state, calls = straight
    assert int(state.step) == 6 and calls == [3, 6]
    kept = config_lib.from_json((workdir / "config.json").read_text(), "config.json")
    assert kept.model == config.model and len(kept.data.categories) == 5
    assert list(losses_of(workdir)) == [1, 2, 3, 4, 5, 6]
    assert list((workdir / "tensorboard").iterdir())
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["3", "4", "6"]


def test_the_average_is_what_an_evaluation_restores(config, straight):
    workdir, state, _ = straight
    wanted = {"params": state.params}
    found, variables = checkpoint.read_variables(workdir, wanted)
    assert found == 6
    jax.tree.map(np.testing.assert_array_equal, variables["params"], state.ema["params"])


def test_a_checkpoint_of_another_model_is_refused(config, straight, tmp_path):
    workdir, _, _ = straight
    head = examples.MODEL.head.clone(num_classes=5, kernel_width=4)
    other = dataclasses.replace(config, model=examples.MODEL.clone(head=head))
    with pytest.raises(InputError, match="take another workdir"):
        train(other, workdir)


def test_a_folder_without_a_checkpoint_says_so(tmp_path):
    with pytest.raises(InputError, match="holds no checkpoint"):
        checkpoint.read_arrays(tmp_path, {})


def test_a_folder_of_another_run_is_refused(config, straight):
    workdir = straight[0]
    kept = (workdir / "config.json").read_bytes()
    for changed, name in (
        (
            dataclasses.replace(config, training=dataclasses.replace(config.training, seed=3)),
            "seed",
        ),
        (
            config_lib.with_categories(
                config, tuple(config_lib.Category(i, f"thing {i}") for i in range(1, 6))
            ),
            "data.categories",
        ),
    ):
        with pytest.raises(InputError, match=f"{name} is not that of the config"):
            loop.train(changed, records_of(config), workdir)
    assert (workdir / "config.json").read_bytes() == kept


@pytest.mark.slow
def test_a_run_is_not_shortened_behind_its_end(config, straight):
    workdir = straight[0]
    kept = (workdir / "config.json").read_bytes()
    fewer = dataclasses.replace(config.training, steps=2)
    with pytest.raises(InputError, match="trained to step 6 already, not 2"):
        train(dataclasses.replace(config, training=fewer), workdir)
    assert (workdir / "config.json").read_bytes() == kept


@pytest.mark.parametrize("content", [b"some text", b"", b"\x93NUMPY\x01\x00"])
def test_pretrained_weights_that_are_none_leave_nothing_behind(config, tmp_path, content):
    path = tmp_path / "weights.npz"
    path.write_bytes(content)
    training = dataclasses.replace(config.training, pretrained=str(path))
    with pytest.raises(InputError, match=rf"^training\.pretrained={path} is not read as weights"):
        train(dataclasses.replace(config, training=training), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def quick(monkeypatch):
    """Steps of one parameter, and the variables that each training would have begun with."""
    return quick_steps.install(monkeypatch.setattr)


def with_training(config: config_lib.Config, **fields) -> config_lib.Config:
    return dataclasses.replace(config, training=dataclasses.replace(config.training, **fields))


class Script:
    """Evaluations that find a given AP at each step."""

    def __init__(self, scores: dict[int, float]):
        self.scores, self.calls = scores, []

    def __call__(self, state) -> loop.Scores:
        self.calls.append(int(state.step))
        return loop.Scores({"AP": self.scores[int(state.step)]}, {})


def test_a_loss_that_is_not_finite_stops_with_the_images_named(
    config, quick, tmp_path, monkeypatch
):
    update = loop.step.update_of()

    def diverge(state, batch):
        """As a step does (test_step.py): from the first bad one on, the state stands still."""
        after, metrics = update(state, batch)
        finite = state.finite & (state.step < 5)
        kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), after, state)
        loss = jnp.where(finite, metrics["loss"], jnp.inf)
        return kept._replace(finite=finite), {"loss": loss, "finite": finite}

    monkeypatch.setattr(loop.step, "update_of", lambda *_: diverge)
    broken = with_training(config, steps=40, log_every=1000, checkpoint_every=20)
    with pytest.raises(InputError, match=r"loss is not finite at step 6 \(.*loss inf.*images \["):
        train(broken, tmp_path)
    # Nothing was logged before the end, and the state stood still from the bad step on.
    found, arrays = examples.arrays_of(tmp_path)
    assert found == 5 and all(np.isfinite(array).all() for array in arrays.values())
    with np.load(tmp_path / "not_finite_step_6.npz") as batch:
        assert batch["images"].shape == (8, 64, 64, 3)
        assert set(batch["image_ids"]) <= set(records_of(config).image_ids)


def test_a_training_without_progress_ends_early_and_stays_ended(config, quick, tmp_path, capsys):
    ending = with_training(config, steps=30, evaluate_every=2, early_stop=2)
    script = Script({2: 0.1, 4: 0.5, 6: 0.4, 8: 0.5, 10: 0.9})
    assert train(ending, tmp_path, evaluate=script).step == 8, "as good as before is no better"
    assert "stopped early: AP 0.500 of step 4 stayed the best" in capsys.readouterr().out
    assert script.calls == [2, 4, 6, 8]
    before = losses_of(tmp_path)

    assert train(ending, tmp_path, evaluate=script).step == 8
    assert "stopped early" in capsys.readouterr().out
    assert script.calls == [2, 4, 6, 8] and losses_of(tmp_path) == before

    more = with_training(ending, early_stop=3)
    script.scores |= dict.fromkeys(range(12, 31), 0.2)
    assert train(more, tmp_path, evaluate=script).step == 16
    assert examples.arrays_of(tmp_path, "best")[0] == 10


def test_a_run_that_ended_goes_on_when_it_is_given_more_steps(config, quick, tmp_path):
    whole = train(config, tmp_path / "whole")
    train(with_training(config, steps=4), tmp_path / "longer")
    longer = train(config, tmp_path / "longer")
    assert losses_of(tmp_path / "longer") == losses_of(tmp_path / "whole")
    jax.tree.map(np.testing.assert_array_equal, longer, whole)


def test_the_best_of_the_evaluated_is_kept(config, quick, tmp_path):
    script = Script({1: 0.1, 2: 0.7, 3: 0.6, 4: 0.2, 5: 0.3, 6: 0.4})
    train(with_training(config, evaluate_every=1), tmp_path, evaluate=script)
    assert checkpoint.steps_in(tmp_path) == [2, 5, 6]
    assert examples.arrays_of(tmp_path, "best")[0] == 2


def test_sigterm_ends_a_training_that_goes_on_as_if_it_had_not(
    config, quick, tmp_path, monkeypatch, capsys
):
    often = with_training(config, checkpoint_every=100)
    whole = train(often, tmp_path / "whole")
    advance, advanced = loop.Log.advance, []

    def advance_and_end(log):
        advance(log)
        advanced.append(log)
        if len(advanced) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop.Log, "advance", advance_and_end)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated):
        train(often, tmp_path / "ended")
    assert signal.getsignal(signal.SIGTERM) is before
    assert "stopped at step 3; the same command goes on from there" in capsys.readouterr().out
    assert checkpoint.steps_in(tmp_path / "ended") == [3]

    state = train(often, tmp_path / "ended")
    assert losses_of(tmp_path / "ended") == losses_of(tmp_path / "whole")
    assert len(losses_of(tmp_path / "ended")) == 6
    jax.tree.map(np.testing.assert_array_equal, state, whole)


class Ended(Script):
    """As Script, but the first evaluation of a step gets SIGTERM in its middle."""

    def __init__(self, scores: dict[int, float], at: int):
        super().__init__(scores)
        self.at = at

    def __call__(self, state) -> loop.Scores:
        if int(state.step) == self.at:
            self.at = 0
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("went on with the evaluation")
        return super().__call__(state)


@pytest.mark.parametrize("at", [2, 6])
def test_an_evaluation_that_sigterm_ends_comes_first_afterwards(config, quick, tmp_path, at):
    evaluated = with_training(config, evaluate_every=2)
    scores = {2: 0.1, 4: 0.7, 6: 0.6}
    train(evaluated, tmp_path / "whole", evaluate=Script(scores))
    ended = Ended(scores, at)
    with pytest.raises(Terminated):
        train(evaluated, tmp_path / "ended", evaluate=ended)
    assert checkpoint.steps_in(tmp_path / "ended")[-1] == at
    train(evaluated, tmp_path / "ended", evaluate=ended)
    assert ended.calls == [2, 4, 6]
    assert logged(tmp_path / "ended") == logged(tmp_path / "whole")
    assert examples.arrays_of(tmp_path / "ended", "best")[0] == 4


def logged(workdir) -> list[tuple]:
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row.get("loss"), row.get("AP")) for row in rows]


@pytest.mark.slow
def test_a_run_that_sigterm_stopped_goes_on_as_if_it_had_not_been(config, straight, tmp_path):
    workdir, state, _ = straight
    evaluated = with_training(config, evaluate_every=3)
    ended = Ended({3: 0.5, 6: 0.5}, at=3)
    with pytest.raises(Terminated):
        train(evaluated, tmp_path, evaluate=ended)
    resumed = train(evaluated, tmp_path, evaluate=ended)
    assert logged(tmp_path) == logged(workdir)
    jax.tree.map(np.testing.assert_array_equal, resumed, state)


def vanish(folder) -> None:
    shutil.rmtree(folder)


def become_a_file(folder) -> None:
    shutil.rmtree(folder)
    folder.write_text("of another")


@pytest.mark.parametrize("what", [vanish, become_a_file])
def test_a_run_folder_that_is_gone_ends_no_training_before_its_end(
    config, quick, tmp_path, monkeypatch, capsys, what
):
    workdir = tmp_path / "run"
    advance, steps = loop.Log.advance, []

    def advance_and_lose(log):
        advance(log)
        steps.append(len(steps) + 1)
        if len(steps) == 3:
            what(workdir)

    monkeypatch.setattr(loop.Log, "advance", advance_and_lose)
    with pytest.raises(InputError, match="checkpoint 6 could not be written"):
        train(config, workdir)
    assert steps == [1, 2, 3, 4, 5, 6]
    told = capsys.readouterr().err
    for step in (4, 6):
        assert told.count(f"solojax: warning: checkpoint {step} could not be written") == 1
    assert "solojax: warning: not logged" in told
    assert what is vanish or workdir.read_text() == "of another"
    assert what is become_a_file or not workdir.exists()


class Watched:
    """Takes the place of the watchdog: what it was to wait for when something was called."""

    expected = ("nothing", 0.0)

    def __enter__(self) -> "Watched":
        return self

    def __exit__(self, *_: object) -> None: ...

    def expect(self, what: str, within: float) -> None:
        Watched.expected = what, within


def test_all_that_waits_is_watched_from_the_first_step_on(config, quick, tmp_path, monkeypatch):
    monkeypatch.setattr(loop.guard, "Watchdog", Watched)
    called = []

    def watch(owner, name: str) -> None:
        method = getattr(owner, name)

        def noted(*arguments, **options):
            called.append((name, *Watched.expected))
            return method(*arguments, **options)

        monkeypatch.setattr(owner, name, noted)

    for owner, name in (
        (loop.pretrained, "start_variables"),
        (loop, "next_of"),
        (parallel, "shard"),  # and what follows it: the update, and the numbers of a step
        (loop.Log, "write"),
        (loop.Checkpoints, "restore"),
        (loop.Checkpoints, "save"),
    ):
        watch(owner, name)

    def evaluate(state) -> loop.Scores:
        called.append(("evaluate", *Watched.expected))
        return loop.Scores({"AP": 0.5}, {})

    scored = with_training(config, steps=9, evaluate_every=9, checkpoint_every=100, log_every=100)
    train(scored, tmp_path, evaluate=evaluate)
    short, long = loop.guard.STALLED_AFTER, loop.guard.COMPILED_WITHIN
    batch, write = ("next_of", "no batch of images came", short), "no checkpoint was written"
    assert called == [
        ("start_variables", "the training did not begin", long),
        ("restore", "the training did not begin", long),
        batch,
        ("shard", "no step ended", long),  # compiles
        ("write", "no step ended", long),
        *[batch, ("shard", "no step ended", long)] * 2,  # of others, who compile
        *[batch, ("shard", "no step ended", short)] * 6,
        ("write", "no step ended", short),
        ("evaluate", "no evaluation ended", loop.guard.EVALUATED_WITHIN),
        ("write", "no evaluation ended", loop.guard.EVALUATED_WITHIN),
        ("save", write, long),
    ]


def failing(text: str):
    def update(*_):
        raise jax.errors.JaxRuntimeError(text)

    return lambda _: update


def test_too_little_device_memory_is_told_with_what_needs_less(
    config, quick, tmp_path, monkeypatch
):
    def advise(config, canvas):
        assert canvas == (64, 64)
        return "the device has too little memory; try --set training.accumulate=2"

    monkeypatch.setattr(out_of_memory, "advice", advise)
    text = "RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes"
    monkeypatch.setattr(parallel, "pmap_update", failing(text))
    with pytest.raises(InputError, match="too little memory; try --set training.accumulate=2"):
        train(config, tmp_path)


def test_too_little_device_memory_for_the_state_is_told_in_a_line(
    config, quick, tmp_path, monkeypatch
):
    def fill_the_device(tree):
        return jnp.zeros(10**14, jnp.uint8).block_until_ready()

    monkeypatch.setattr(parallel, "replicate", fill_the_device)
    with pytest.raises(InputError, match="too little memory for the state of the model") as caught:
        train(config, tmp_path)
    assert "\n" not in str(caught.value)


def test_another_failure_of_a_device_is_no_fault_of_the_user(config, quick, tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "pmap_update", failing("INTERNAL: the device fell off the bus"))
    with pytest.raises(jax.errors.JaxRuntimeError, match="fell off the bus"):
        train(config, tmp_path)


def test_a_run_starts_from_the_averages_of_another(config, straight, quick, tmp_path):
    workdir, state, _ = straight
    train(with_training(config, pretrained=str(workdir), steps=1), tmp_path)
    jax.tree.map(np.testing.assert_array_equal, quick[-1]["params"], state.ema["params"])


def test_a_run_of_other_classes_is_refused_or_its_classes_start_anew(
    config, straight, quick, tmp_path, capsys
):
    workdir, state, _ = straight
    head = config.model.head.clone(num_classes=7)
    other = dataclasses.replace(config, model=config.model.clone(head=head))
    other = with_training(other, pretrained=str(workdir), steps=1)
    with pytest.raises(InputError, match=r"\(params/head/category_predictor/.*5\], not .*7\]"):
        train(other, tmp_path)
    assert not list(tmp_path.iterdir())

    train(with_training(other, reset_classes=True), tmp_path)
    assert "classes: params/head/category_predictor/" in capsys.readouterr().out
    theirs = checkpoint.by_name(state.ema["params"])
    for name, array in checkpoint.by_name(quick[-1]["params"]).items():
        if name.startswith("head/category_predictor/"):
            assert array.shape[-1] == 7 and (array == 0.5).all(), name
        else:
            np.testing.assert_array_equal(array, theirs[name], err_msg=name)


def test_a_run_folder_without_a_checkpoint_is_no_beginning(config, quick, tmp_path):
    empty = with_training(config, pretrained=str(tmp_path))
    with pytest.raises(InputError, match="holds no checkpoint"):
        train(empty, tmp_path / "run")


class Trap:
    """What unpickles it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def pickled(path, trap):
    path.write_bytes(pickle.dumps(trap))


def zipped(path, trap):
    with zipfile.ZipFile(path, "w") as file:  # as torch.save writes it
        file.writestr("weights/data.pkl", pickle.dumps({"conv1.weight": trap}, protocol=2))
        file.writestr("weights/version", "3\n")


def objects(path, trap):
    with path.open("wb") as file:
        np.savez(file, **{"conv1.weight": np.array([trap], object)})


def an_object(path, trap):
    with path.open("wb") as file:
        np.save(file, np.array([trap], object), allow_pickle=True)


def not_finite(path, trap):
    with path.open("wb") as file:
        np.savez(file, **{"conv1.weight": np.full((64, 3, 7, 7), np.nan, np.float32)})


@pytest.mark.parametrize(
    ("variant", "said"), [("b", "set model.backbone.variant=a"), ("a", "bn1/mean is not filled")]
)
def test_caffe2s_weights_want_the_stride_where_they_have_it(config, quick, tmp_path, variant, said):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"conv1_w": np.zeros((64, 3, 7, 7))}, 2))
    backbone = config.model.backbone.clone(norm="frozen_statistics", variant=variant)
    model = dataclasses.replace(config, model=config.model.clone(backbone=backbone))
    with pytest.raises(InputError, match=said):
        train(with_training(model, pretrained=str(tmp_path / "x.pkl")), tmp_path / "run")


@pytest.mark.parametrize("name", ["weights.pth", "weights.npz"])
@pytest.mark.parametrize(
    ("write", "said"),
    [
        (not_finite, "has numbers that are not finite, in 'conv1.weight'"),
        (pickled, r"would call '_?io\.open', which no weights need; nothing was run"),
        (zipped, r"would call '_?io\.open', which no weights need; nothing was run"),
        (objects, "'conv1.weight.npy' in it has objects that are no numbers"),
        (an_object, "it seems to be a NumPy array"),
    ],
)
def test_weights_that_are_no_numbers_are_refused_and_never_unpickled(
    config, quick, tmp_path, name, write, said
):
    trap = tmp_path / "trace"
    write(tmp_path / name, Trap(trap))
    backbone = config.model.backbone.clone(norm="frozen_statistics")
    model = dataclasses.replace(config, model=config.model.clone(backbone=backbone))
    with pytest.raises(InputError, match=rf"^training\.pretrained={tmp_path / name} .*{said}"):
        train(with_training(model, pretrained=str(tmp_path / name)), tmp_path / "run")
    assert not trap.exists() and not (tmp_path / "run").exists()
