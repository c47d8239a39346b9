"""Compiled programs are kept between starts, by JAX's persistent cache in a folder of the user's.

For the command line. JAX is told by its own variables of the environment, before it is imported:
whoever imports solojax into a process of his own finds JAX as he set it up.
"""

import contextlib
import os
import re
import sys
import warnings
from pathlib import Path
from typing import Any

LIMIT = 2**30  # bytes that are kept from one start to the next; what was used last

FOLDER, _SWITCH = "JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"
_OFF = ("n", "no", "f", "false", "off", "0")  # in the words of JAX
OPTIONS = {
    # A start has dozens of small programs, and each takes longer to compile than to read.
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    # What XLA would add for GPUs grows without a limit.
    "JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES": "none",
}
_OTHERS_MAY_WRITE = 0o022
TROUBLE = "Error (reading|writing) persistent compilation cache entry"  # in the words of JAX


def keep() -> None:
    """Has JAX keep its programs in ``$XDG_CACHE_HOME/solojax/programs``, by default ~/.cache/...

    What JAX's own variables say goes first. Trouble with the folder costs a line on stderr and the
    time to compile, never the run. Does nothing where JAX has been imported.
    """
    if FOLDER in os.environ or os.environ.get(_SWITCH, "").lower() in _OFF:
        return
    if "jax" in sys.modules:
        return
    try:
        folder = _cache_home() / "solojax" / "programs"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check(folder)
        _shrink(folder)
    except (OSError, RuntimeError) as error:  # the latter where no home is known
        _warn(f"compiled programs are not kept: {error}; XDG_CACHE_HOME gives another place")
        return
    os.environ[FOLDER] = str(folder)
    for name, value in OPTIONS.items():
        os.environ.setdefault(name, value)
    _watch(folder)


def _cache_home() -> Path:
    given = os.environ.get("XDG_CACHE_HOME", "")
    return Path(given) if os.path.isabs(given) else Path.home() / ".cache"


def _check(folder: Path) -> None:
    """Raises OSError where programs cannot be written, or others could have written them."""
    about = folder.stat()
    if about.st_uid != os.geteuid():
        raise OSError(f"{folder} belongs to another user")
    if about.st_mode & _OTHERS_MAY_WRITE:
        raise OSError(f"others may write to {folder}; remove it")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(f"{folder} cannot be written to")


def _programs(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()]


def _shrink(folder: Path) -> None:
    """Removes what is beyond ``LIMIT`` of the programs, those used longest ago."""
    found = []
    for path in _programs(folder):
        with contextlib.suppress(FileNotFoundError):  # another process removes, too
            about = path.stat()
            found.append((max(about.st_atime, about.st_mtime), about.st_size, path))
    total = 0
    for _, size, path in sorted(found, reverse=True):
        total += size
        if total > LIMIT:
            path.unlink(missing_ok=True)


def _watch(folder: Path) -> None:
    """Removes what JAX could not read or write, which it never does itself, and tells of it once.

    JAX goes on by compiling and warns, for each program anew.
    """
    show, told = warnings.showwarning, False

    def hear(message: Any, *more: Any, **others: Any) -> None:
        nonlocal told
        if not re.match(TROUBLE, str(message)):
            return show(message, *more, **others)
        # JAX does not say in which file; a program that was half written is among these.
        with contextlib.suppress(OSError):
            for path in _programs(folder):
                path.unlink(missing_ok=True)
        if not told:
            told = True
            reason = " ".join(str(message).partition("': ")[2].split())
            _warn(f"compiled programs in {folder} are made anew: {reason}")

    warnings.filterwarnings("always", TROUBLE)
    warnings.showwarning = hear


def _warn(text: str) -> None:
    with contextlib.suppress(OSError):
        print(f"solojax: warning: {text}", file=sys.stderr, flush=True)
