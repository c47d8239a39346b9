"""The whole training of the shapes set, watched: `make soak`, some ten minutes."""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from solojax.data import synthetic

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.slow, pytest.mark.soak]


def rows_of(workdir: Path) -> list[dict[str, float]]:
    path = workdir / "metrics.jsonl"
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]


def test_five_thousand_steps_grow_nothing_and_compile_nothing_anew(tmp_path: Path) -> None:
    synthetic.draw_shapes(tmp_path / "shapes", train=6000, val=200)
    workdir = tmp_path / "run"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XLA_", "JAX_"))}
    command = [sys.executable, ROOT / "train.py", "--config", ROOT / "configs/shapes.py"]
    command += ["--workdir", workdir, "--set", f"data.root={tmp_path / 'shapes'}"]
    command += [f"data.records={tmp_path / 'records'}", "training.steps=5000"]
    command += ["training.evaluate_every=1000"]
    resident: dict[int, int] = {}  # MiB by step
    threads: dict[int, int] = {}
    with (tmp_path / "output.txt").open("w") as output:
        training = subprocess.Popen(
            list(map(str, command)),
            env=environment | {"JAX_PLATFORMS": "cpu"},
            stdout=output,
            stderr=output,
        )
        while training.poll() is None:
            time.sleep(1)
            if rows := rows_of(workdir):
                status = Path(f"/proc/{training.pid}/status").read_text().splitlines()
                about = dict(line.split(":\t", 1) for line in status if ":\t" in line)
                if "VmRSS" in about:
                    resident[int(rows[-1]["step"])] = int(about["VmRSS"].split()[0]) // 1024
                    threads[int(rows[-1]["step"])] = int(about["Threads"])
    assert training.returncode == 0, (tmp_path / "output.txt").read_text()[-3000:]

    rows = rows_of(workdir)
    compiled = {row["step"]: row["compilations"] for row in rows if "compilations" in row}
    # The step at the first step; the prediction, once, at the first evaluation.
    assert compiled[1] == compiled[1000], compiled
    assert compiled[1100] == compiled[5000], compiled

    def middle(numbers: dict[int, int], first: int, last: int) -> float:
        return statistics.median(n for step, n in numbers.items() if first <= step < last)

    early, late = middle(resident, 1100, 2000), middle(resident, 4100, 5000)
    print(f"resident {early:.0f} MiB before step 2000, {late:.0f} MiB before step 5000")
    assert late < 1.05 * early, resident
    assert middle(threads, 4100, 5000) <= middle(threads, 1100, 2000), threads
    scores = [row["AP"] for row in rows if "AP" in row]
    print(f"AP {scores}, {rows[-1]}")
    assert scores[-1] > 0.5
