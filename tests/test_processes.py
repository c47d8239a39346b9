"""Two processes of four fake devices each, joined over gloo, by the command line."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from solojax import processes
from solojax.data import synthetic
from solojax.evaluation.coco import NAMES
from solojax.training import checkpoint
from solojax.types import RESTART, InputError

ROOT = Path(__file__).parents[1]
CONFIG = """
from pathlib import Path

from tests import examples

config = examples.make_config(Path({folder!r}), steps=4, evaluate_every=4)
"""
# Seconds of silence that a test waits for, in place of half a minute.
PROGRAM = """
import sys
from solojax import cli, processes
processes.LOST_AFTER = 6
sys.exit(cli.main(sys.argv[1:]))
"""


class Runs:
    """Starts ``solojax train`` as one process or as two."""

    def __init__(self, folder: Path):
        synthetic.draw_shapes(folder / "shapes", train=16, val=8, processes=1)
        self.config = folder / "config.py"
        self.config.write_text(CONFIG.format(folder=str(folder)))

    def start(
        self,
        workdir: Path,
        *fields: str,
        count: int,
        others: tuple[str, ...] = (),
        devices: int = 8,
        evaluates: bool = False,
    ) -> list[subprocess.Popen]:
        """``others`` are fields of process 1 alone; ``devices`` are those of all together."""
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": str(devices // count),
        }
        started = []
        for i in range(count):
            command = [sys.executable, "-c", PROGRAM, *self._what(evaluates)]
            command += ["--workdir", workdir]
            if count > 1:
                command += ["--coordinator", f"localhost:{port}"]
                command += ["--process", str(i), "--processes", str(count)]
            if more := fields + (others if i else ()):
                command += ["--set", *more]
            started.append(
                subprocess.Popen(
                    list(map(str, command)),
                    cwd=ROOT,
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        return started

    def _what(self, evaluates: bool) -> list:
        return ["eval"] if evaluates else ["train", "--config", self.config]

    def train(self, workdir: Path, *fields: str, count: int, devices: int = 8) -> None:
        codes, printed = finish(self.start(workdir, *fields, count=count, devices=devices))
        assert codes == [0] * count, "\n".join(printed)


def finish(started: list[subprocess.Popen], within: float = 300) -> tuple[list[int], list[str]]:
    end = time.monotonic() + within
    try:
        printed = [one.communicate(timeout=end - time.monotonic())[0] for one in started]
    finally:
        for one in started:
            one.kill()
    return [one.returncode for one in started], printed


def rows_of(workdir: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def wait_for_step(workdir: Path, step: int, started: list[subprocess.Popen]) -> None:
    end = time.monotonic() + 240
    while time.monotonic() < end:
        if (workdir / "metrics.jsonl").is_file() and any(
            row["step"] >= step for row in rows_of(workdir)
        ):
            return
        assert all(one.poll() is None for one in started), finish(started)[1]
        time.sleep(0.1)
    raise AssertionError(f"no step {step}: {finish(started, within=0)[1]}")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("processes"))


@pytest.fixture(scope="module")
def of_one(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("one")
    runs.train(workdir, count=1)
    return workdir


@pytest.fixture(scope="module")
def of_two(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("two")
    runs.train(workdir, count=2)
    return workdir


def assert_equal_runs(ours: Path, theirs: Path) -> None:
    """Losses, AP and the last state, to 1e-5."""
    for row, other in zip(rows_of(ours), rows_of(theirs), strict=True):
        for name in ("step", "loss", "category", "mask", "grad_norm", "AP", "AR100"):
            if name in other:
                # Rounded to six digits in the file.
                np.testing.assert_allclose(row[name], other[name], rtol=2e-5, err_msg=name)
    (step, arrays), (same, others) = map(checkpoint.read_arrays, (ours, theirs))
    assert step == same and arrays.keys() == others.keys()
    for name in arrays:
        np.testing.assert_allclose(arrays[name], others[name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(of_one: Path, of_two: Path) -> None:
    assert [row["step"] for row in rows_of(of_two)] == [1, 2, 3, 4, 4]
    assert_equal_runs(of_two, of_one)


@pytest.mark.slow
def test_a_checkpoint_goes_on_with_other_processes_and_devices(
    runs: Runs, of_one: Path, of_two: Path, tmp_path: Path
) -> None:
    # Of other devices as well.
    for count, devices, workdir in ((1, 2, of_two), (2, 8, of_one)):
        runs.train(workdir, "training.steps=8", count=count, devices=devices)
    assert [row["step"] for row in rows_of(of_two)] == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8]
    assert_equal_runs(of_two, of_one)


def numbers_of(report: dict) -> list[dict[str, float]]:
    """COCO's twelve of masks, boxes and boundaries."""
    return [
        {name: part[name] for name in NAMES} for part in (report, report["box"], report["boundary"])
    ]


@pytest.mark.slow
def test_two_processes_score_a_network_as_one_does(runs: Runs, tmp_path: Path) -> None:
    # Long enough to find something, in images that it has seen.
    runs.train(
        tmp_path,
        "data.val_json=annotations/instances_train.json",
        "optimizer.algorithm=adamw",
        "optimizer.learning_rate=0.005",
        "training.steps=200",
        "training.log_every=50",
        "training.evaluate_every=0",
        "training.checkpoint_every=200",
        count=1,
    )
    reports = []
    for count in (1, 2):
        codes, printed = finish(runs.start(tmp_path, count=count, evaluates=True))
        assert codes == [0] * count, printed
        reports.append(json.loads((tmp_path / "eval.json").read_text()))
    assert reports[0]["AP"] > 0.005
    assert reports[0].keys() == reports[1].keys()
    for one, other in zip(*[numbers_of(report) for report in reports], strict=True):
        assert one == pytest.approx(other, abs=1e-5)


@pytest.mark.slow
def test_a_process_that_dies_is_named_by_the_others_and_nothing_hangs(
    runs: Runs, tmp_path: Path
) -> None:
    started = runs.start(tmp_path, "training.steps=100000", count=2)
    wait_for_step(tmp_path, 2, started)
    started[1].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    codes, printed = finish(started)
    assert codes == [RESTART, -signal.SIGKILL], printed[0]
    assert f"process 1 on {socket.gethostname()} has given no sign of life" in printed[0]
    assert time.monotonic() - killed < 60


@pytest.mark.slow
def test_a_process_that_fails_tells_the_others_why(runs: Runs, tmp_path: Path) -> None:
    started = runs.start(
        tmp_path / "run", count=2, others=("data.root=nowhere", f"data.records={tmp_path}")
    )
    codes, printed = finish(started)
    assert codes == [2, 2], "\n".join(printed)
    for one in printed:
        assert "nowhere" in one
    assert f"stops: process 1 on {socket.gethostname()}: error: " in printed[0]


@pytest.mark.slow
def test_processes_that_were_told_different_things_do_not_begin(runs: Runs, tmp_path: Path) -> None:
    others = ("optimizer.learning_rate=0.5",)
    codes, printed = finish(runs.start(tmp_path / "run", count=2, others=others))
    assert codes == [2, 2], "\n".join(printed)
    assert "process 1 has another config, data set or version of jax" in printed[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_process_that_is_told_to_end_ends_all_with_one_checkpoint(
    runs: Runs, tmp_path: Path
) -> None:
    fields = ("training.steps=100000", "training.checkpoint_every=100000")
    started = runs.start(tmp_path, *fields, "training.evaluate_every=0", count=2)
    wait_for_step(tmp_path, 2, started)
    started[1].send_signal(signal.SIGTERM)
    told = time.monotonic()
    codes, printed = finish(started)
    assert codes == [RESTART, RESTART], "\n".join(printed)
    assert time.monotonic() - told < 60
    step, _ = checkpoint.read_arrays(tmp_path)
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
