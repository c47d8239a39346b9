"""Checkpoints of a state of a few arrays, on disks that are whole, damaged, full or gone."""

import json
import os
import re
import shutil
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
import tensorstore

from solojax import config as config_lib
from solojax.training import checkpoint, checkpointer
from solojax.training.checkpointer import Checkpoints
from solojax.types import InputError, TrainState
from tests import disk
from tests.conftest import FIXTURES

# Where one array cannot be read or written, TensorStore tells asyncio of the others too late.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def make_state(step: int, width: int = 4) -> TrainState:
    """Another one for each step."""
    rng = np.random.default_rng(step)
    kernel = rng.normal(size=(3, width)).astype(np.float32)
    params = {"head": {"kernel": kernel, "bias": np.arange(width, dtype=np.float16) + step}}
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(), optax.trace(0.9))
    return TrainState(
        step=np.array(step, np.int32),
        params=params,
        batch_stats={},
        opt_state=jax.device_get(tx.init(params)),
        ema={"params": jax.tree.map(lambda x: x / 2, params), "batch_stats": {}},
        finite=np.ones((), bool),
    )


LIKE = {"params": make_state(0).params, "batch_stats": {}}


def read_arrays(workdir: Path, which: str = "latest") -> tuple[int, dict[str, np.ndarray]]:
    return checkpoint.read_arrays(workdir, LIKE, which)


def assert_same(ours: TrainState, theirs: TrainState) -> None:
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_array_equal(a, b)


def steps_in(workdir: Path) -> list[str]:
    return sorted(path.name for path in (workdir / "checkpoints").iterdir())


def save_all(workdir: Path, scores: dict[int, float | None]) -> None:
    with Checkpoints(workdir) as checkpoints:
        for step, score in scores.items():
            checkpoints.save(step, make_state(step), None if score is None else {"AP": score})


def restored(workdir: Path) -> TrainState:
    with Checkpoints(workdir) as checkpoints:
        return checkpoints.restore(make_state(0))


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A run folder with checkpoints 4 and 6, of which 4 is the best."""
    workdir = tmp_path_factory.mktemp("saved")
    save_all(workdir, {4: 0.4, 6: 0.3})
    return workdir


@pytest.fixture
def run(saved, tmp_path) -> Path:
    """A copy of it to spoil."""
    return shutil.copytree(saved, tmp_path / "run")


def test_what_is_saved_is_what_is_restored(saved):
    assert_same(restored(saved), make_state(6))


def test_without_a_checkpoint_the_fresh_state_is_restored(tmp_path):
    assert_same(restored(tmp_path), make_state(0))


def test_the_newest_two_and_the_best_are_kept(tmp_path):
    save_all(tmp_path, {1: 0.1, 2: 0.5, 3: 0.2, 4: None, 5: 0.3, 6: None})
    assert steps_in(tmp_path) == ["2", "5", "6"]


def test_a_state_that_was_not_scored_is_no_best(tmp_path):
    save_all(tmp_path, {1: None, 2: None, 3: None})
    assert steps_in(tmp_path) == ["2", "3"]
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.best() is None


def test_the_best_survives_a_restart(tmp_path):
    save_all(tmp_path, {1: 0.5})
    save_all(tmp_path, {2: 0.1, 3: 0.2, 4: 0.3})
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.best() == (1, 0.5)
    assert steps_in(tmp_path) == ["1", "3", "4"]


def test_of_equal_scores_the_earliest_stays_the_best(tmp_path):
    save_all(tmp_path, {1: 0.0, 2: 0.0, 3: 0.0, 4: 0.0})
    save_all(tmp_path, {5: 0.0})
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.best() == (1, 0.0)
    assert read_arrays(tmp_path, "best")[0] == 1


def test_a_state_can_be_scored_after_it_was_saved(tmp_path):
    save_all(tmp_path, {1: 0.2, 2: None})
    with Checkpoints(tmp_path) as checkpoints:
        assert not checkpoints.is_scored(2)
        checkpoints.save(2, make_state(2), {"AP": 0.3})
        checkpoints.save(2, make_state(2))  # as an interruption afterwards does
        assert checkpoints.is_scored(2) and checkpoints.best() == (2, 0.3)
    assert_same(restored(tmp_path), make_state(2))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]


def test_a_kill_between_two_saves_of_a_step_leaves_the_first(run):
    (run / "checkpoints" / "6").rename(run / "unscored_checkpoint_6")
    assert_same(restored(run), make_state(6))
    shutil.copytree(run / "checkpoints" / "6", run / "unscored_checkpoint_6")
    assert_same(restored(run), make_state(6))
    assert [path.name for path in run.iterdir()] == ["checkpoints"]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def swap(path: Path) -> None:
    path.write_bytes(path.read_bytes()[::-1])


def be_a_list(path: Path) -> None:
    path.write_text("[]")


def be_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def be_deep(path: Path) -> None:
    path.write_text("[" * 100_000)


@pytest.mark.parametrize("damage", [flip, cut, swap, Path.unlink, be_a_list, be_deep, be_a_pipe])
def test_a_damaged_file_costs_one_checkpoint_at_most(saved, tmp_path, capsys, damage: Callable):
    fell_back = 0
    for number, path in enumerate(sorted((saved / "checkpoints" / "6").rglob("*"))):
        if not path.is_file():
            continue
        run = shutil.copytree(saved, tmp_path / str(number))
        damage(run / path.relative_to(saved))
        with Checkpoints(run) as checkpoints:
            state = checkpoints.restore(make_state(0))
            told = capsys.readouterr().err
            assert checkpoints.best() == (4, 0.4), path
            if state.step == 6:
                assert_same(state, make_state(6))
                assert not told
                continue
            fell_back += 1
            assert_same(state, make_state(4))
            assert re.fullmatch(r"solojax: warning: checkpoint 6 is damaged \(.*\n", told), path
            assert (run / "damaged_checkpoint_6").is_dir() and steps_in(run) == ["4"]
            checkpoints.save(6, make_state(6), {"AP": 0.5})
            checkpoints.check()
        assert_same(restored(run), make_state(6))
    assert fell_back >= 3  # arrays, their index and the digest, to say the least


def test_what_orbax_says_of_a_checkpoint_is_json_of_its_kind_or_that_is_damaged(run, capsys):
    be_a_list(run / "checkpoints" / "6" / "_CHECKPOINT_METADATA")
    assert read_arrays(run)[0] == 4
    assert restored(run).step == 4
    told = capsys.readouterr().err
    assert told.count("checkpoint 6 is damaged (_CHECKPOINT_METADATA holds no JSON object)") == 2


@pytest.mark.parametrize("name", ["²", "٣", "07", "-1", "2147483648", "9" * 19])
def test_a_folder_that_is_called_no_step_is_none(run, name):
    (run / "checkpoints" / name).mkdir()
    assert checkpoint.steps_in(run) == [4, 6]
    assert read_arrays(run)[0] == 6 and restored(run).step == 6
    with pytest.raises(InputError, match="it has 4, 6, latest and best"):
        read_arrays(run, name)


def test_what_others_write_to_stderr_while_a_checkpoint_is_written_is_not_lost(
    tmp_path, monkeypatch, capfd
):
    save = checkpointer.ocp.CheckpointManager.save

    def speak_and_save(*arguments, **options):
        os.write(2, b"another thread speaks\n")
        return save(*arguments, **options)

    monkeypatch.setattr(checkpointer.ocp.CheckpointManager, "save", speak_and_save)
    save_all(tmp_path, {1: None})
    assert capfd.readouterr().err == "another thread speaks\n"


def test_a_damaged_checkpoint_of_the_same_step_makes_room_for_the_next(run, capsys):
    for _ in range(2):
        flip(run / "checkpoints" / "6" / "digest" / "metadata")
        assert restored(run).step == 4
        save_all(run, {6: 0.3})
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "damaged_checkpoint_6"]


def test_a_score_that_cannot_be_read_is_scored_again(run):
    cut(run / "checkpoints" / "6" / "metrics" / "metrics")
    with Checkpoints(run) as checkpoints:
        assert not checkpoints.is_scored(6)
        checkpoints.save(6, make_state(6), {"AP": 0.5})
        assert checkpoints.best() == (6, 0.5)


def test_where_all_are_damaged_nothing_begins_anew(run):
    for step in "46":
        cut(run / "checkpoints" / step / "digest" / "metadata")
    for _ in range(2):  # nor when the same command is given again
        with pytest.raises(InputError, match=rf"all checkpoints of {run} are damaged \(6: .*; 4:"):
            restored(run)
        with pytest.raises(InputError, match="no sound checkpoint is left"):
            read_arrays(run)
    assert steps_in(run) == ["4", "6"]


def test_a_state_of_another_shape_is_refused_by_name(run):
    with (
        Checkpoints(run) as checkpoints,
        pytest.raises(InputError, match=r"ema/params/head/bias is float16\[4\], not float16\[5\]"),
    ):
        checkpoints.restore(make_state(0, width=5))


def test_a_state_of_another_optimizer_is_refused_by_name(run):
    like = make_state(0)._replace(opt_state=(np.zeros(2, np.float32),))
    with (
        Checkpoints(run) as checkpoints,
        pytest.raises(InputError, match=r"\(opt_state/0 is None, not float32\[2\]\)"),
    ):
        checkpoints.restore(like)
    assert steps_in(run) == ["4", "6"]


def test_a_checkpoint_of_another_format_is_refused(run, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", checkpoint.FORMAT + 1)
    said = r"checkpoint 6 was written by solojax .*format 1.*`pip install solojax==\d"
    with pytest.raises(InputError, match=said):
        restored(run)
    assert steps_in(run) == ["4", "6"]


def test_a_version_that_is_none_gets_into_no_command(run, monkeypatch, capsys):
    monkeypatch.setattr(checkpoint, "FORMAT", checkpoint.FORMAT + 1)
    path = run / "checkpoints" / "6" / "digest" / "metadata"
    path.write_text('{"format": 1, "solojax": "9\\n9; rm -rf x"}')
    with pytest.raises(InputError, match="checkpoint 4 was written by"):
        read_arrays(run)
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and r"damaged (its version is '9\n9; rm -rf x')" in told


def test_a_run_of_an_older_release_goes_on(tmp_path):
    with zipfile.ZipFile(FIXTURES / "run_0_1.zip") as kept:
        kept.extractall(tmp_path)
    assert_same(restored(tmp_path), make_state(6))
    config = checkpoint.read_config(tmp_path)
    assert [one.id for one in config.data.categories] == [1, 7]
    assert config.model == config_lib.load("shapes").model.clone(head=config.model.head)
    save_all(tmp_path, {8: 0.4})
    assert_same(restored(tmp_path), make_state(8))


@pytest.mark.parametrize("change", ["a field", "a class", "a value"])
def test_a_run_that_another_release_cannot_read_is_told_how_it_moves(tmp_path, change):
    content = json.loads(config_lib.to_json(config_lib.load("shapes")))
    head = content["model"]["head"]
    if change == "a field":
        head["of_tomorrow"] = 3
    elif change == "a class":
        head["type"] = "solojax.heads.of_tomorrow.Head"
    else:
        head["width"] = 65
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"`solojax train .* --set training.pretrained=RUN`"):
        checkpoint.read_config(tmp_path)


@pytest.mark.parametrize("which, step", [("latest", 6), ("best", 4), ("4", 4), ("6", 6)])
def test_arrays_are_read_by_the_name_of_their_checkpoint(saved, which, step):
    found, arrays = read_arrays(saved, which)
    assert found == step
    averages = make_state(step).ema["params"]["head"]
    assert arrays.keys() == {"params/head/kernel", "params/head/bias"}
    np.testing.assert_array_equal(arrays["params/head/kernel"], averages["kernel"])


def test_variables_that_fit_in_no_memory_are_refused_by_name(saved):
    like = {"params": {"head": {"kernel": jax.ShapeDtypeStruct((2**50,), np.float32)}}}
    with pytest.raises(InputError, match="is of another model or optimizer than the config"):
        checkpoint.read_variables(saved, like)


def claim(run: Path, **about: list[int]) -> None:
    """Lets an array of the newest checkpoint say something else of itself."""
    base = f"file://{run}/checkpoints/6/state/"
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
    key = "ema.params.head.kernel/.zarray"
    store.write(key, json.dumps(json.loads(store.read(key).result().value) | about)).result()


def test_an_array_that_claims_another_shape_is_never_read(run):
    claim(run, shape=[2**20, 2**20], chunks=[3, 4])
    said = r"ema/params/head/kernel is float32\[1048576, 1048576\], not float32\[3, 4\]"
    with pytest.raises(InputError, match=said):
        restored(run)
    with pytest.raises(InputError, match=said.removeprefix("ema/")):
        read_arrays(run)


def test_an_array_in_pieces_that_are_larger_than_it_is_never_read(run, capsys):
    claim(run, chunks=[2**20, 2**20])
    assert read_arrays(run)[0] == 4
    assert "kernel has pieces of [1048576, 1048576], and is [3, 4]" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["state/_METADATA", "digest/metadata", "_CHECKPOINT_METADATA"])
def test_json_without_end_is_not_read(run, capsys, name):
    os.truncate(run / "checkpoints" / "6" / name, 2**40)
    assert read_arrays(run)[0] == 4
    assert f"{name} has more than 67,108,864 bytes" in capsys.readouterr().err


def test_a_config_of_any_size_is_not_read(tmp_path):
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InputError, match="has more than 16,777,216 bytes, and is no config"):
        checkpoint.read_config(tmp_path)


def test_without_averages_the_parameters_are_read(tmp_path):
    state = make_state(3)._replace(ema=())
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, state)
    _, variables = checkpoint.read_variables(tmp_path, {"params": state.params})
    jax.tree.map(np.testing.assert_array_equal, variables["params"], state.params)


@pytest.mark.parametrize("which", ["5", "last", "-6", ""])
def test_an_unknown_checkpoint_is_told_with_those_there_are(saved, which):
    with pytest.raises(InputError, match="has no checkpoint .*; it has 4, 6, latest and best"):
        read_arrays(saved, which)


def test_the_best_of_none_that_was_scored_is_refused(tmp_path):
    save_all(tmp_path, {1: None})
    with pytest.raises(InputError, match="no checkpoint .* was scored"):
        read_arrays(tmp_path, "best")


def spoil_an_average(path: Path) -> None:
    content = json.loads(path.read_text())
    content["arrays"]["ema/params/head/bias"] ^= 1
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("damage", [cut, spoil_an_average])
def test_the_latest_that_is_sound_is_read(run, capsys, damage: Callable):
    damage(run / "checkpoints" / "6" / "digest" / "metadata")
    assert read_arrays(run)[0] == 4
    assert "checkpoint 6 is damaged" in capsys.readouterr().err
    assert steps_in(run) == ["4", "6"], "reading changes nothing"


@pytest.mark.parametrize("which", ["best", "4"])
def test_what_was_asked_for_by_name_is_not_replaced(run, which):
    cut(run / "checkpoints" / "4" / "digest" / "metadata")
    with pytest.raises(InputError, match="checkpoint 4 of .* is damaged .*; it has 4, 6, latest"):
        read_arrays(run, which)


@pytest.mark.parametrize("room", [0, 200, 400, 2000])
def test_a_full_disk_costs_no_checkpoint_but_that_one(run, capsys, room):
    with Checkpoints(run) as checkpoints:
        with disk.full(room):
            checkpoints.save(8, make_state(8), {"AP": 0.9})
        told = capsys.readouterr().err
        assert "solojax: warning: checkpoint 8 could not be written: " in told
        with pytest.raises(InputError, match="checkpoint 8 .*; make room, and the same command"):
            checkpoints.check()
        time.sleep(0.1)  # for what would still be written
        assert steps_in(run) == ["4", "6"] and checkpoints.best() == (4, 0.4)
        assert_same(restored(run), make_state(6))

        checkpoints.save(8, make_state(8), {"AP": 0.9})
        checkpoints.check()
    assert steps_in(run) == ["6", "8"]
    assert_same(restored(run), make_state(8))


def test_a_full_disk_costs_no_state_that_is_to_be_scored(run, capsys):
    save_all(run, {8: None})
    with Checkpoints(run) as checkpoints:
        with disk.full(200):
            checkpoints.save(8, make_state(8), {"AP": 0.9})
        assert "could not be written" in capsys.readouterr().err
        assert not checkpoints.is_scored(8)
        assert_same(checkpoints.restore(make_state(0)), make_state(8))
        checkpoints.save(8, make_state(8), {"AP": 0.9})
        checkpoints.check()
        assert checkpoints.best() == (8, 0.9)
    assert [path.name for path in run.iterdir()] == ["checkpoints"]


def test_a_folder_that_cannot_be_written_costs_no_checkpoint(run, capsys):
    folder, away = run / "checkpoints", run / "away"
    with Checkpoints(run) as checkpoints:
        folder.rename(away)
        folder.write_text("no folder")
        for step in (6, 8):
            checkpoints.save(step, make_state(step), {"AP": 0.9})
            assert f"checkpoint {step} could not be written" in capsys.readouterr().err
            with pytest.raises(InputError, match=f"checkpoint {step} could not"):
                checkpoints.check()
        folder.unlink()
        away.rename(folder)
        checkpoints.save(8, make_state(8))
        checkpoints.check()
    assert_same(restored(run), make_state(8))


def test_a_folder_that_went_is_made_again(run):
    with Checkpoints(run) as checkpoints:
        shutil.rmtree(run / "checkpoints")
        checkpoints.save(8, make_state(8), {"AP": 0.1})
        checkpoints.check()
    assert_same(restored(run), make_state(8))


def test_what_a_killed_process_was_writing_is_removed(run):
    half = run / "checkpoints" / "8.orbax-checkpoint-tmp-1"
    shutil.copytree(run / "checkpoints" / "6", half)
    shutil.copytree(half, run / "checkpoints" / "8.orbax-checkpoint-tmp")
    assert_same(restored(run), make_state(6))
    assert steps_in(run) == ["4", "6"]


def test_saves_leave_nothing_running_and_nothing_lying(tmp_path):
    before = set(threading.enumerate())
    with Checkpoints(tmp_path) as checkpoints:
        for step in range(5):
            checkpoints.save(step, make_state(step))
        for thread in set(threading.enumerate()) - before:  # on its way out
            thread.join(5)
            assert not thread.is_alive()
        assert steps_in(tmp_path) == ["3", "4"]
