"""What a training leaves to look at, read back."""

import collections
import dataclasses
import errno
import io
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing import event_accumulator

from solojax import config as config_lib
from solojax.training import goodput
from solojax.training.log import Log
from solojax.types import InputError
from tests import disk, examples

REPORT = {
    **dict.fromkeys(goodput.ACTIVITIES, 0.0),
    "waiting_for_data": 0.02,
    "compiling": 0.25,
    "goodput": 0.625,
    "images_per_second": 312.34,
    "step_seconds": 0.0512,
}


def config_of(**boards: str) -> config_lib.Config:
    training = config_lib.Training(batch_size=8, **boards)
    return config_lib.Config(model=examples.MODEL, training=training)


def open_log(workdir: Path, first: int = 0, scored: bool = True, **boards: str) -> Log:
    return Log(workdir, config_of(**boards), first=first, scored=scored, steps=10)


def rows_of(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_each_write_is_a_line(tmp_path):
    with open_log(tmp_path) as log:
        log.write(1, {"loss": 2.5, "learning_rate": 1 / 3})
        log.write(1, {"AP": 0.25})
        log.write(4, {"loss": np.float32(0.1)})
    rows = rows_of(tmp_path)
    times = [row.pop("time") for row in rows]
    assert times == sorted(times)
    assert rows == [
        {"step": 1, "loss": 2.5, "learning_rate": 0.333333},
        {"step": 1, "AP": 0.25},
        {"step": 4, "loss": 0.1},
    ]


def test_going_on_forgets_what_will_come_again_and_what_was_cut_off(tmp_path):
    with open_log(tmp_path) as log:
        for step in range(1, 6):
            log.write(step, {"loss": float(step)})
    path = tmp_path / "metrics.jsonl"
    path.write_text("null\nno JSON\n" + path.read_text() + '{"step": 3, "los')
    with open_log(tmp_path, first=3) as log:
        log.write(4, {"loss": 40.0})
    assert [(row["step"], row["loss"]) for row in rows_of(tmp_path)] == [
        (1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0),
    ]  # fmt: skip


@pytest.mark.parametrize("scored, kept", [(True, [2, 4, 4]), (False, [2, 4])])
def test_a_score_that_will_come_again_is_forgotten(tmp_path, scored, kept):
    with open_log(tmp_path) as log:
        log.write(2, {"AP": 0.1})
        log.write(4, {"loss": 1.0})
        log.write(4, {"AP": 0.2})
    with open_log(tmp_path, first=4, scored=scored):
        pass
    assert [row["step"] for row in rows_of(tmp_path)] == kept


def test_a_line_without_its_end_is_whole_again(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0}')
    with open_log(tmp_path, first=1) as log:
        log.write(2, {"loss": 2.0})
    assert [row["step"] for row in rows_of(tmp_path)] == [1, 2]


def test_beginning_anew_forgets_everything(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1, "loss": 1}\n{"step": 2, "lo\xff\n')
    with open_log(tmp_path):
        pass
    assert rows_of(tmp_path) == []


def test_tensorboard_shows_the_numbers_and_the_pictures(tmp_path):
    pixels = np.zeros((6, 4, 3), np.uint8)
    pixels[2:4, 1:3] = 255, 0, 10
    with open_log(tmp_path) as log:
        log.write(1, {"loss": 2.5})
        log.write(3, {"loss": 1.5, "AP": 0.25})
        log.picture(3, "validation/0", pixels)
    events = event_accumulator.EventAccumulator(
        str(tmp_path / "tensorboard"), size_guidance={event_accumulator.TENSORS: 0}
    ).Reload()
    import tensorflow as tf

    numbers = {
        (name, event.step): float(tf.make_ndarray(event.tensor_proto))
        for name in ("loss", "AP")
        for event in events.Tensors(name)
    }
    assert numbers == {("loss", 1): 2.5, ("loss", 3): 1.5, ("AP", 3): 0.25}
    (picture,) = events.Tensors("validation/0")
    width, height, png = picture.tensor_proto.string_val
    assert (picture.step, width, height) == (3, b"4", b"6")
    np.testing.assert_array_equal(tf.io.decode_png(png), pixels)


def steps_shown(workdir: Path) -> dict[str, list[int]]:
    """The steps that TensorBoard has of each name, however often."""
    events = event_accumulator.EventAccumulator(
        str(workdir / "tensorboard"),
        size_guidance={event_accumulator.TENSORS: 0},
        purge_orphaned_data=False,
    ).Reload()
    return {
        name: [event.step for event in events.Tensors(name)] for name in events.Tags()["tensors"]
    }


@pytest.mark.parametrize(("scored", "cut"), [(True, 0), (False, 0), (True, 7)])
def test_tensorboard_shows_each_step_once_after_going_on(tmp_path, scored, cut):
    pixels = np.zeros((6, 4, 3), np.uint8)

    def write(log: Log, step: int) -> None:
        log.write(step, {"loss": float(step)})
        if step % 2 == 0:
            log.write(step, {"AP": 0.5, "AR100": 0.5})
            log.picture(step, "validation/0", pixels)

    with open_log(tmp_path) as log:
        for step in range(1, 6):
            write(log, step)
    for path in (tmp_path / "tensorboard").iterdir():
        path.write_bytes(path.read_bytes()[: -cut or None])
    with open_log(tmp_path, first=4, scored=scored) as log:
        if not scored:  # its score was logged, and the process killed before it was saved
            log.write(4, {"AP": 0.5, "AR100": 0.5})
            log.picture(4, "validation/0", pixels)
        write(log, 5)
        write(log, 6)
    every, even = [1, 2, 3, 4, 5, 6], [2, 4, 6]
    assert steps_shown(tmp_path) == {"loss": every} | dict.fromkeys(
        ("AP", "AR100", "validation/0"), even
    )


def test_the_line_of_text_says_where_the_time_went(tmp_path, capsys):
    with open_log(tmp_path) as log:
        log.write(50, {"loss": 1.23456, **REPORT})
        log.write(50, {"AP": 0.5})  # has no line of its own
        log.write(51, {"loss": 1.0, **REPORT, "share_of_peak": 0.437})
        log.write(52, {"loss": 1.0, **dict.fromkeys(goodput.ACTIVITIES, 0.0), "goodput": 1.0})
    assert capsys.readouterr().out.splitlines() == [
        "step 50, loss 1.2346, 312.3 images/s, 51 ms a step, waiting 2%, compiling 25%, "
        "checkpointing 0%, evaluating 0%, goodput 62%",
        "step 51, loss 1.0000, 312.3 images/s, 51 ms a step, waiting 2%, compiling 25%, "
        "checkpointing 0%, evaluating 0%, goodput 62%, 44% of the device's peak",
        "step 52, loss 1.0000, waiting 0%, compiling 0%, checkpointing 0%, evaluating 0%, "
        "goodput 100%",
    ]


def test_a_disk_that_is_full_for_a_while_is_told_of_once(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    with open_log(tmp_path) as log:
        log.write(1, {"loss": 1.0})
        with disk.full(path.stat().st_size + 10):  # room for a part of a line
            log.write(2, {"loss": 2.0})
            log.picture(2, "validation/0", np.zeros((4, 4, 3), np.uint8))
            log.write(3, {"loss": 3.0})
        log.write(4, {"loss": 4.0})
    assert capsys.readouterr().err.count("solojax: warning: not logged: ") == 1
    assert [row["step"] for row in rows_of(tmp_path)] == [1, 4]


def test_events_that_cannot_be_written_end_no_training(tmp_path, capsys):
    with open_log(tmp_path) as log, disk.full(200):
        for step in range(40):  # more than TensorFlow keeps back
            log.picture(step, "validation/0", np.zeros((4, 4, 3), np.uint8))
    told = capsys.readouterr().err
    assert told.count("solojax: warning: not logged: /") == 1 and "File too large" in told


class Printed(io.StringIO):
    """Where it goes to may have no more room."""

    full = False

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_what_is_printed_to_a_full_disk_ends_no_training(tmp_path, monkeypatch):
    printed = Printed()
    monkeypatch.setattr(sys, "stdout", printed)
    monkeypatch.setattr(sys, "stderr", printed)
    with open_log(tmp_path) as log:
        printed.full = True
        for step in range(1, 4):
            log.advance()
            log.write(step, {"loss": 1.0, **REPORT})
    assert [row["step"] for row in rows_of(tmp_path)] == [1, 2, 3]
    assert "step 1" not in printed.getvalue()


def test_processes_but_the_first_leave_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("solojax.processes.is_first", lambda: False)
    with open_log(tmp_path) as log:
        log.advance()
        log.write(1, {"loss": 1.0})
        log.picture(1, "0", np.zeros((4, 4, 3), np.uint8))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("board", ["wandb", "mlflow"])
def test_a_board_without_its_package_is_refused(board, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, board, None)
    with pytest.raises(InputError, match=rf"training.{board}=cells needs {board}; `pip install"):
        open_log(tmp_path, **{board: "cells"})


@dataclasses.dataclass
class Board(types.ModuleType):
    """Takes the place of the package wandb."""

    started: list[dict] = dataclasses.field(default_factory=list)
    logged: list[tuple[int, dict]] = dataclasses.field(default_factory=list)
    ended: list[int] = dataclasses.field(default_factory=list)

    def init(self, **options) -> "Board":
        self.started.append(options)
        return self

    def log(self, values: dict, step: int) -> None:
        self.logged.append((step, values))

    def finish(self, exit_code: int) -> None:
        self.ended.append(exit_code)

    Image = staticmethod(np.copy)


def test_a_project_gets_numbers_pictures_and_config_of_one_run(tmp_path, monkeypatch):
    board = Board()
    monkeypatch.setitem(sys.modules, "wandb", board)
    pixels = np.full((4, 4, 3), 7, np.uint8)
    with pytest.raises(KeyboardInterrupt), open_log(tmp_path / "run", wandb="cells") as log:
        log.write(1, {"loss": 0.5})
        log.picture(1, "validation/0", pixels)
        raise KeyboardInterrupt
    monkeypatch.chdir(tmp_path)
    with open_log(Path("run"), first=1, wandb="cells") as log:  # the same folder by another name
        log.write(2, {"loss": 0.25})
    first, second = board.started
    assert first["id"] == second["id"] and "/" not in first["id"]
    assert first["project"] == "cells" and first["name"] == "run" and first["resume"] == "allow"
    assert first["config"]["training"]["batch_size"] == 8
    (_, numbers), (step, picture), later = board.logged
    assert numbers == {"loss": 0.5} and step == 1 and later == (2, {"loss": 0.25})
    np.testing.assert_array_equal(picture["validation/0"], pixels)
    assert board.ended == [1, 0]


def test_without_a_project_nothing_is_imported(tmp_path, monkeypatch):
    board = Board()
    monkeypatch.setitem(sys.modules, "wandb", board)
    with open_log(tmp_path) as log:
        log.write(1, {"loss": 1.0})
    assert not board.started and not board.logged


class Refusal(Exception):
    """Takes the place of mlflow.exceptions.MlflowException."""

    def __init__(self, error_code: str):
        super().__init__(f"no: {error_code}\nand more")
        self.error_code = error_code


class Experiments(types.ModuleType):
    """Takes the place of the package mlflow, and of its client, as mlflow 3.17 answers."""

    entities = types.SimpleNamespace(
        Metric=collections.namedtuple("Metric", "key value time step"),
        Param=collections.namedtuple("Param", "key value"),
    )
    exceptions = types.SimpleNamespace(MlflowException=Refusal)

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.runs: dict[str, dict] = {}
        self.down = False

    def MlflowClient(self) -> "Experiments":  # noqa: N802
        return self

    def get_tracking_uri(self) -> str:
        return "http://board"

    def get_experiment_by_name(self, name: str) -> None:
        if self.down:
            raise Refusal("INTERNAL_ERROR")

    def create_experiment(self, name: str) -> str:
        return name

    def create_run(self, experiment: str, run_name: str) -> types.SimpleNamespace:
        number = f"{experiment}-{len(self.runs)}"
        self.runs[number] = {"name": run_name, "config": {}, "metrics": [], "pictures": []}
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=number))

    def update_run(self, run: str, status: str) -> None:
        if run not in self.runs:
            raise Refusal("RESOURCE_DOES_NOT_EXIST")
        self.set_terminated(run, status)

    def log_batch(self, run: str, metrics=(), params=(), synchronous: bool = True) -> None:
        if self.down:
            raise Refusal("INTERNAL_ERROR")
        assert len(params) <= 100 and synchronous == bool(params)  # a step waits for no server
        self.runs[run]["config"] |= dict(params)
        self.runs[run]["metrics"] += [(one.key, one.value, one.step) for one in metrics]

    def log_image(self, run: str, image, key: str, step: int, synchronous: bool) -> None:
        assert not synchronous
        self.runs[run]["pictures"].append((key, step))

    def set_terminated(self, run: str, status: str) -> None:
        self.runs[run]["status"] = status

    def flush_async_logging(self) -> None:
        pass


def test_an_experiment_gets_numbers_pictures_and_config_of_one_run(tmp_path, monkeypatch):
    board = Experiments()
    monkeypatch.setitem(sys.modules, "mlflow", board)
    with pytest.raises(KeyboardInterrupt), open_log(tmp_path, mlflow="cells") as log:
        log.write(1, {"loss": 0.5})
        log.picture(1, "validation/0", np.zeros((4, 4, 3), np.uint8))
        raise KeyboardInterrupt
    ((name, run),) = board.runs.items()
    assert name == "cells-0" and run["status"] == "FAILED" and run["name"] == tmp_path.name
    config = run["config"]
    assert config["training.batch_size"] == "8" and config["training.mlflow"] == "cells"
    with open_log(tmp_path, first=1, mlflow="cells") as log:
        assert run["status"] == "RUNNING"
        log.write(2, {"loss": 0.25})
    assert board.runs == {name: run} and run["status"] == "FINISHED"
    assert run["metrics"] == [("loss", 0.5, 1), ("loss", 0.25, 2)]
    assert run["pictures"] == [("validation/0", 1)]
    board.runs.clear()  # another server
    with open_log(tmp_path, first=2, mlflow="cells"):
        assert [*board.runs] == ["cells-0"]


def test_a_server_that_fails_is_told_and_ends_no_training(tmp_path, monkeypatch, capsys):
    board = Experiments()
    monkeypatch.setitem(sys.modules, "mlflow", board)
    with open_log(tmp_path / "run", mlflow="cells") as log:
        board.down = True
        for step in (1, 2):
            log.write(step, {"loss": 0.5})
    assert len(rows_of(tmp_path / "run")) == 2
    assert capsys.readouterr().err.count("warning: not logged: no: INTERNAL_ERROR\n") == 1
    with pytest.raises(InputError, match=r"=cells: http://board does not take it: no: INT[^\n]*$"):
        open_log(tmp_path / "other", mlflow="cells")
