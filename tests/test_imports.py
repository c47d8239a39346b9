"""Claims about what is loaded for what: TensorFlow and JAX take seconds."""

import os
import subprocess
import sys
from pathlib import Path

from solojax import config as config_lib

ROOT = Path(__file__).parents[1]
IMPORTS = """
import contextlib, io, sys
heavy = {"numpy", "jax", "cv2", "tensorflow", "tensorflow_datasets", "av", "optax", "PIL"}
def check(when, allowed=()):
    loaded = heavy & set(sys.modules) - set(allowed)
    assert not loaded, f"{when} loads {loaded}"
import solojax
check("import solojax")
from solojax import cli
for flag in ("--help", "--version"):
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        cli.main([flag])
    assert "solojax" in printed.getvalue()
check("--help")
assert printed.getvalue() == f"solojax {solojax.__version__}\\n"
cli.main(["predict", "one.jpg", "--run", "."])  # up to its classes, of which it has none
check("predict", {"numpy", "jax", "cv2", "PIL"})
assert "solojax.training.checkpoint" in sys.modules
"""


def test_a_command_loads_no_more_than_it_needs(tmp_path: Path) -> None:
    (tmp_path / "one.jpg").touch()
    config = config_lib.load(ROOT / "configs/shapes.py")
    (tmp_path / "config.json").write_text(config_lib.to_json(config))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "names 0 categories and its network knows 5" in done.stderr
