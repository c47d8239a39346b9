"""Kills trainings at random moments and compares what becomes of them with one left in peace.

    python -m tests.kill FOLDER KILLS

Every other kill waits for a checkpoint that is being written.
"""

import json
import random
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import jax
import numpy as np

from solojax import config as config_lib
from solojax.data import synthetic
from solojax.data.records import coco
from solojax.training import checkpoint, loop, manager, step
from tests import examples, forks, quick

STEPS = 24


def train(folder: Path, workdir: Path, network: bool) -> None:
    """What a child does: no more than the command line."""
    jax.config.update("jax_compilation_cache_dir", str(folder / "cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    if not network:
        quick.install(setattr)
    config = examples.make_config(folder, steps=STEPS, evaluate_every=3)
    records = coco.prepare(config.data, "train")
    config = config_lib.with_categories(config, records.categories)

    def evaluate(state):
        """A score that depends on all that is averaged, and is quick to have."""
        leaves = jax.tree.leaves(jax.device_get(step.eval_variables(state)))
        total = sum(float(np.sum(np.abs(leaf), dtype=np.float64)) for leaf in leaves)
        return loop.Scores({"AP": total % 1}, {})

    loop.train(config, records, workdir, evaluate)


def start(folder: Path, workdir: Path, network: bool) -> BaseProcess:
    return forks.start(folder / "output.txt", 1, train, folder, workdir, network)


def ended(child: BaseProcess, folder: Path) -> bool:
    """Whether it has ended by itself; anything but success is an error."""
    output = folder / "output.txt"
    assert not child.exitcode, f"{child.exitcode}: {output.read_text()[-2000:]}"
    return child.exitcode == 0


def run_with_kills(
    folder: Path, workdir: Path, rng: random.Random, longest: float, network: bool
) -> list[str]:
    """Trains to the end, however often it is killed; says where each kill fell."""
    kills: list[str] = []
    while True:
        child = start(folder, workdir, network)
        in_save = len(kills) % 2 == 1
        moment = time.monotonic() + rng.uniform(0, longest)
        # Or, from a random moment on, the first sight of a save and a few milliseconds more.
        while time.monotonic() < moment or (in_save and not half_saved(workdir)):
            if ended(child, folder):
                return kills
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.03) if in_save else 0)
        if ended(child, folder):
            return kills
        child.kill()
        child.join()
        kills.append("in a save" if half_saved(workdir) else "elsewhere")


def half_saved(workdir: Path) -> bool:
    return any((workdir / "checkpoints").glob("*-tmp*"))


def outcome(workdir: Path) -> tuple[list, dict[str, np.ndarray], int]:
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    numbers = [(r["step"], r.get("loss"), r.get("grad_norm"), r.get("AP")) for r in rows]
    orbax = manager.manager_of(workdir, read_only=True)
    arrays = checkpoint.read_step(orbax, STEPS, list)
    best, _ = examples.arrays_of(workdir, "best")
    return numbers, arrays, best


def main(folder: Path, kills: int, network: bool = True) -> None:
    """Trains a network, or the one parameter of ``quick``, until it was killed that often."""
    synthetic.draw_shapes(folder / "shapes", train=20, val=4, processes=1)
    for name in ("first", "straight"):  # the second finds what the first has compiled
        begin = time.monotonic()
        child = start(folder, folder / name, network)
        child.join()
        assert ended(child, folder)
    longest = time.monotonic() - begin
    wanted = outcome(folder / "straight")
    rng = random.Random()
    fell: list[str] = []
    runs = 0
    while len(fell) < kills:
        workdir = folder / f"killed{runs}"
        fell += run_with_kills(folder, workdir, rng, longest, network)
        runs += 1
        numbers, arrays, best = outcome(workdir)
        assert numbers == wanted[0], (workdir, numbers, wanted[0])
        assert best == wanted[2], (workdir, best, wanted[2])
        assert arrays.keys() == wanted[1].keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, wanted[1][name], err_msg=f"{workdir} {name}")
        print(
            f"{len(fell)} kills, {fell.count('in a save')} of them in a save; {runs} runs ended "
            "with the losses and the state of the one left in peace",
            flush=True,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
