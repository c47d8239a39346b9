"""Config files: the ones that come along, found by name, and any other by its path."""

import difflib
import re
import runpy
from pathlib import Path
from typing import Any

from solojax.types import InputError

_PACKAGE = Path(__file__).parents[1]
# A wheel carries them inside of the package; in a clone they lie beside it, for people to find.
_HOME = _PACKAGE if (_PACKAGE / "configs").is_dir() else _PACKAGE.parent
_FOLDER = _HOME / "configs"


def names() -> list[str]:
    """Those of the configs that come along, which ``load`` knows."""
    return sorted(path.stem for path in _FOLDER.glob("*.py"))


def find(config: str | Path) -> Path:
    """The file of a config.

    Text without slash, backslash and dot is a name, whatever lies in the working directory, so
    that a command means the same in every folder; a file called like that is ``./shapes``. All
    else is a path.

    Raises:
      InputError: no config of that name comes along, or there is no such file.
    """
    if isinstance(config, str) and re.fullmatch(r"[^/\\.]+", config):
        path = _FOLDER / f"{config}.py"
        if not path.is_file():
            file = f" (the file is ./{config})" if Path(config).is_file() else ""
            raise InputError(f"config {config}: no such name{file}; {_nearest(config)}")
        return path
    path = Path(config)
    if not path.is_file():
        raise InputError(f"config {config}: no such file; {_nearest(path.stem)}")
    return path


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, known := names(), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else f"by name: {', '.join(known)}"


def run(path: Path) -> Any:
    """What the Python file at ``path`` calls ``config``; None where it does not.

    Raises:
      InputError: whatever Python finds in a file that is no config.
    """
    try:
        return runpy.run_path(str(path)).get("config")
    except InputError as error:
        raise InputError(f"config {path}: {error}") from error
    except Exception as error:
        said = " ".join(str(error).split())  # flax writes a page
        raise InputError(f"config {path}: {type(error).__name__}: {said}") from error
