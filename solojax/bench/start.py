"""From a command to its first answer, in processes of their own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from solojax import compilation
from solojax import config as config_lib
from solojax.bench import predict as stages
from solojax.bench import rows, synthetic
from solojax.bench.settings import Settings
from solojax.inference import programs
from solojax.timing import Timing
from solojax.types import InputError

TURNS = 3
COMMANDS = {
    "import solojax": ["-c", "import solojax"],
    "solojax --help": ["-c", "from solojax import cli; cli.main(['--help'])"],
    "import jax, look for devices": ["-c", "import jax; jax.devices()"],
}
FIRST = (  # programs are kept by what is said before JAX is there
    "import sys; from solojax import compilation; compilation.keep(); "
    "from solojax.bench import start; start.first_detection(*sys.argv[1:])"
)


def section(settings: Settings) -> Iterator[rows.Row]:
    """A row for each command; the last two are a first detection, without and with what is kept."""
    for name, command in COMMANDS.items():
        yield _row(name, [_seconds(command) for _ in range(min(TURNS, settings.repeats))])
    config = settings.scratch / "config.json"
    config.write_text(config_lib.to_json(settings.config))
    command = ["-c", FIRST, str(config), json.dumps(settings.canvas)]
    home = {"XDG_CACHE_HOME": str(settings.scratch / "programs")}
    for name in ("first detection", "first detection, programs kept"):
        yield _row(name, [_seconds(command, home)])


def first_detection(config: str, canvas: str) -> None:
    """Finds what a fresh network of a config sees in noise: a process of its own, up to an answer.

    Args:
      config: path of its JSON.
      canvas: (height, width) as JSON.
    """
    model = config_lib.from_json(Path(config).read_text(), config).model
    pixels, sizes, _ = stages.images_of(tuple(json.loads(canvas)), 1)
    find = programs.make_find(model, all_devices=False)
    find(synthetic.variables_of(model), pixels, sizes, sizes)


def _row(name: str, seconds: list[float]) -> rows.Row:
    return rows.with_times({"name": name, "images": 1}, Timing(seconds[0], tuple(seconds), 1), None)


def _seconds(command: list[str], more: dict[str, str] | None = None) -> float:
    kept = {name: text for name, text in os.environ.items() if name != compilation.FOLDER}
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *command],
        env=kept | paths | (more or {}),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise InputError(f"{command[1]} failed: {done.stderr.strip().splitlines()[-1]}")
    return time.perf_counter() - start
