"""Two processes of two fake devices each, joined over gloo, and one of eight: by commands."""

import ctypes
import json
import os
import shutil
import signal
import socket
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from solojax import cli, processes
from solojax.data import synthetic
from solojax.evaluation.metrics.coco import NAMES
from solojax.types import RESTART, InputError
from tests import examples, forks, quick
from tests.examples import rows_of

CONFIG = """
from pathlib import Path

from tests import examples

config = examples.make_config(Path({folder!r}), evaluate_every=4)
"""
UNSCORED = "training.evaluate_every=0"


class Pair(NamedTuple):
    """Two processes and where they print to."""

    processes: list[BaseProcess]
    outputs: list[Path]

    def finish(self, within: float = 300) -> tuple[list[int | None], list[str]]:
        """Their exit codes and what they printed."""
        end = time.monotonic() + within
        for one in self.processes:
            one.join(max(0, end - time.monotonic()))
        codes = [one.exitcode for one in self.processes]
        for one in self.processes:
            one.kill()
        return codes, [output.read_text() for output in self.outputs]


def start(
    folder: Path, *commands: list[str], others: tuple[str, ...] = (), steps=True, act: Any = None
) -> Pair:
    """Two processes that run the commands one after the other, or ``act`` instead.

    ``others`` are fields of process 1 alone. Without ``steps`` of a network, they take quick ones.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    folder.mkdir(exist_ok=True)
    pair = Pair([], [folder / f"output{i}.txt" for i in range(2)])
    for i, output in enumerate(pair.outputs):
        mine = [[*command, *(others if i else ())] for command in commands]
        joined = ["--coordinator", coordinator, "--process", str(i), "--processes", "2"]
        task = (*act, joined) if act else (run, mine, joined, steps)
        pair.processes.append(forks.start(output, 2, *task))
    return pair


def run(commands: list[list[str]], joined: list[str], steps: bool) -> int:
    """What a process does; those that run several commands stay together until the last."""
    if steps:
        quick.share(setattr)
    else:
        quick.install(setattr)
        processes.LOST_AFTER = 6  # seconds of silence that a test waits for, not half a minute
    finish = processes.finish
    for command in commands:
        processes.finish = finish if command is commands[-1] else lambda: processes.collect(b"")
        if code := cli.main([command[0], *joined, *command[1:]]):
            return code
        joined = []
    return 0


def behave(how: str, joined: list[str]) -> int:
    """What a process does that joins another and then behaves in some way, if it is the second."""
    processes.LOST_AFTER, processes.BEAT, processes.TOLD = 2, 0.5, 1
    _, coordinator, _, process, _, _ = joined
    processes.start(coordinator, int(process), 2)
    if process == "1":
        if how == "holds the lock":
            ctypes.PyDLL(None).sleep(6)  # as long as a parser of JSON may; no thread of ours runs
        else:
            os.kill(os.getpid(), signal.SIGSTOP)
    processes.collect(b"")
    processes.finish()
    return 0


@pytest.mark.slow
def test_a_process_that_holds_the_lock_lives_and_one_that_is_stopped_is_named(
    tmp_path: Path,
) -> None:
    locked = start(tmp_path / "locked", act=(behave, "holds the lock"))
    stopped = start(tmp_path / "stopped", act=(behave, "is stopped"))
    codes, printed = locked.finish(within=60)
    assert codes == [0, 0], "\n".join(printed)
    stopped.processes[0].join(60)
    (code, _), printed = stopped.finish(within=0)
    assert code == RESTART, printed[0]
    assert f"process 1 on {socket.gethostname()} has given no sign of life for 2 s" in printed[0]


def wait_for_step(workdir: Path, step: int, pair: Pair) -> None:
    end = time.monotonic() + 240
    while time.monotonic() < end:
        if (workdir / "metrics.jsonl").is_file() and any(
            row["step"] >= step for row in rows_of(workdir)
        ):
            return
        assert all(one.is_alive() for one in pair.processes), pair.finish()[1]
        time.sleep(0.1)
    raise AssertionError(f"no step {step}: {pair.finish(within=0)[1]}")


def train_command(config: Path, workdir: Path, *fields: str) -> list[str]:
    return ["train", "--config", str(config), "--workdir", str(workdir), "--set", *fields]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("config")
    synthetic.draw_shapes(folder / "shapes", train=20, val=8, processes=1)
    path = folder / "config.py"
    path.write_text(CONFIG.format(folder=str(folder)))
    return path


class Runs(NamedTuple):
    """Folders of the same training, and reports of the same state of it."""

    of_one: Path  # four steps, by one process
    of_two: Path
    from_one: Path  # four steps by one process and four more by two
    from_two: Path
    report_of_one: dict
    report_of_two: dict


@pytest.fixture(scope="module")
def runs(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """All that one process and two have to do with a network."""
    folder = tmp_path_factory.mktemp("runs")

    def train(name: str, steps: int, *fields: str) -> list[str]:
        return train_command(config, folder / name, f"training.steps={steps}", *fields)

    def score(name: str) -> list[str]:
        return ["eval", "--workdir", str(folder / name)]

    def report(name: str) -> dict:
        return json.loads((folder / name / "eval.json").read_text())

    assert cli.main(train("of_one", 4)) == 0
    shutil.copytree(folder / "of_one", folder / "from_one")
    # Long enough to find something, in images that it has seen.
    learnt = (
        "data.val_json=annotations/instances_train.json",
        "optimizer.algorithm=adamw",
        "optimizer.learning_rate=0.01",
        "training.log_every=40",
        "training.checkpoint_every=80",
        UNSCORED,
    )
    assert cli.main(train("scored_by_one", 80, *learnt)) == 0
    shutil.copytree(folder / "scored_by_one", folder / "scored_by_two")
    assert cli.main(score("scored_by_one")) == 0
    commands = train("of_two", 4), train("from_one", 8), score("scored_by_two")
    codes, printed = start(folder / "outputs", *commands).finish()
    assert codes == [0, 0], "\n".join(printed)
    shutil.copytree(folder / "of_two", folder / "from_two")
    assert cli.main(train("from_two", 8)) == 0
    trained = [folder / name for name in Runs._fields[:4]]
    return Runs(*trained, report("scored_by_one"), report("scored_by_two"))


def assert_equal_runs(ours: Path, theirs: Path) -> None:
    """Losses, AP and the last state, to 1e-5."""
    for row, other in zip(rows_of(ours), rows_of(theirs), strict=True):
        for name in ("step", "loss", "category", "mask", "grad_norm", "AP", "AR100"):
            if name in other:
                # Rounded to six digits in the file.
                np.testing.assert_allclose(row[name], other[name], rtol=2e-5, err_msg=name)
    (step, arrays), (same, others) = map(examples.arrays_of, (ours, theirs))
    assert step == same and arrays.keys() == others.keys()
    for name in arrays:
        np.testing.assert_allclose(arrays[name], others[name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(runs: Runs) -> None:
    assert [row["step"] for row in rows_of(runs.of_two)] == [1, 2, 3, 4, 4]
    assert_equal_runs(runs.of_two, runs.of_one)


@pytest.mark.slow
def test_a_checkpoint_goes_on_with_other_processes_and_devices(runs: Runs) -> None:
    assert [row["step"] for row in rows_of(runs.from_two)] == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8]
    assert_equal_runs(runs.from_two, runs.from_one)


def numbers_of(report: dict) -> list[dict[str, float]]:
    """COCO's twelve of masks, boxes and boundaries."""
    return [
        {name: part[name] for name in NAMES} for part in (report, report["box"], report["boundary"])
    ]


@pytest.mark.slow
def test_two_processes_score_a_network_as_one_does(runs: Runs) -> None:
    one, two = runs.report_of_one, runs.report_of_two
    assert one["AP"] > 0.005
    assert one.keys() == two.keys()
    for ours, theirs in zip(numbers_of(one), numbers_of(two), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


@pytest.mark.slow
def test_a_process_that_dies_is_named_by_the_others_and_nothing_hangs(
    config: Path, tmp_path: Path
) -> None:
    command = train_command(config, tmp_path / "run", "training.steps=100000", UNSCORED)
    pair = start(tmp_path, command, steps=False)
    wait_for_step(tmp_path / "run", 2, pair)
    pair.processes[1].kill()
    killed = time.monotonic()
    codes, printed = pair.finish()
    assert codes == [RESTART, -signal.SIGKILL], printed[0]
    assert f"process 1 on {socket.gethostname()} has given no sign of life" in printed[0]
    assert time.monotonic() - killed < 60


@pytest.mark.slow
def test_a_process_that_fails_tells_the_others_why(config: Path, tmp_path: Path) -> None:
    command = train_command(config, tmp_path / "run", UNSCORED)
    others = ("data.root=nowhere", f"data.records={tmp_path}")
    codes, printed = start(tmp_path, command, others=others, steps=False).finish()
    assert codes == [2, 2], "\n".join(printed)
    for one in printed:
        assert "nowhere" in one
    assert f"stops: process 1 on {socket.gethostname()}: error: " in printed[0]


@pytest.mark.slow
def test_processes_that_were_told_different_things_do_not_begin(
    config: Path, tmp_path: Path
) -> None:
    command = train_command(config, tmp_path / "run", UNSCORED)
    others = ("optimizer.learning_rate=0.5",)
    codes, printed = start(tmp_path, command, others=others, steps=False).finish()
    assert codes == [2, 2], "\n".join(printed)
    assert "process 1 has another config, data set or version of jax" in printed[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_process_that_is_told_to_end_ends_all_with_one_checkpoint(
    config: Path, tmp_path: Path
) -> None:
    fields = ("training.steps=100000", "training.checkpoint_every=100000", UNSCORED)
    pair = start(tmp_path, train_command(config, tmp_path / "run", *fields), steps=False)
    wait_for_step(tmp_path / "run", 2, pair)
    pair.processes[1].terminate()
    told = time.monotonic()
    codes, printed = pair.finish()
    assert codes == [RESTART, RESTART], "\n".join(printed)
    assert time.monotonic() - told < 60
    step, _ = examples.arrays_of(tmp_path / "run")
    assert f"stopped at step {step}; the same command goes on" in printed[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"coordinator": "localhost:1"}, "go together"),
        ({"process": 0, "processes": 2}, "go together"),
        ({"coordinator": "localhost:1", "process": 2, "processes": 2}, "--process 2 is not in"),
        ({"coordinator": "localhost", "process": 0, "processes": 2}, "has no port"),
    ],
)
def test_flags_that_cannot_work_are_refused_before_anything_is_joined(arguments, said) -> None:
    with pytest.raises(InputError, match=said):
        processes.start(**arguments)


def test_one_process_alone_has_what_it_gives() -> None:
    assert processes.is_first() and processes.collect(b"x") == [b"x"]
    assert processes.in_turn(lambda: 3) == 3
    tree = {"x": np.arange(3)}
    np.testing.assert_array_equal(processes.broadcast(tree)["x"], tree["x"])


def test_a_coordinator_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "START_WITHIN", 0.1)
    with socket.socket() as silent:
        silent.bind(("localhost", 0))  # and does not listen
        address = f"localhost:{silent.getsockname()[1]}"
        with pytest.raises(InputError, match=f"{address} did not answer"):
            processes.start(address, process=1, processes=2)


SLURM = {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "a", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


@pytest.mark.parametrize(
    ("environment", "several"),
    [
        ({}, False),
        (SLURM | {"SLURM_NTASKS": "16"}, True),
        (SLURM | {"SLURM_NTASKS": "1"}, False),
        ({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "16"}, False),  # sbatch or salloc, without srun
    ],
)
def test_tasks_of_srun_are_known_as_several_processes(
    environment: dict[str, str], several: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processes.glob, "glob", lambda _: [])  # no TPU chips
    assert processes._is_one_of_many() == several
