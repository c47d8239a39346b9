"""The wheel, installed apart from the clone."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

# The command `solojax` as it is declared, then what it is made of, as JSON.
PROGRAM = """
import importlib.metadata, json, sys
import solojax
from solojax import config
(command,) = importlib.metadata.entry_points(group="console_scripts", name="solojax")
code = command.load()(sys.argv[1:])
print(json.dumps({
    "package": solojax.__file__,
    "versions": [solojax.__version__, importlib.metadata.version("solojax")],
    "config": config.to_json(config.load("solov2_r50_fpn_3x")),
}))
sys.exit(code)
"""


def install(folder: Path) -> None:
    """Builds the wheel and unpacks it into ``folder``; the network is not used."""
    source = folder.with_name("source")
    for name in ("solojax", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--no-compile", "--target"]
    command = [sys.executable, "-m", "pip", "install", *options, folder, source]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def run(folder: Path, *arguments: str, cwd: Path) -> dict[str, Any]:
    """Runs ``solojax`` of the wheel in ``folder`` on one device; returns what it is made of."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XLA_", "JAX_"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**environment, "PYTHONPATH": str(folder), "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
