"""Claims about where compiled programs are kept, and that trouble there costs a line at most."""

import os
import stat
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from solojax import compilation
from tests import disk

FOLDER = "JAX_COMPILATION_CACHE_DIR"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache home, in a process that has not imported JAX yet."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    monkeypatch.setattr(os, "environ", mine | {"XDG_CACHE_HOME": str(tmp_path)})
    monkeypatch.delitem(sys.modules, "jax")
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    return tmp_path


def test_programs_are_kept_in_a_folder_that_nobody_else_may_open(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = home / "solojax" / "programs"
    for _ in range(2):  # the second one finds it
        os.environ.pop(FOLDER, None)
        compilation.keep()
        assert os.environ[FOLDER] == str(folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("given", [(FOLDER, "mine"), ("JAX_ENABLE_COMPILATION_CACHE", "False")])
def test_what_a_user_tells_jax_rules(given: tuple[str, str], home: Path) -> None:
    os.environ.update([given])
    before = dict(os.environ)
    compilation.keep()
    assert os.environ == before and not list(home.iterdir())


def test_a_process_that_has_jax_already_is_not_touched() -> None:
    before = dict(os.environ), warnings.showwarning
    compilation.keep()
    assert before == (os.environ, warnings.showwarning)


def a_file_in_its_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.parent.mkdir()
    folder.touch()


def others_may_write(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o770)


def of_another_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)


def not_writable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write to all


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (a_file_in_its_place, "File exists"),
        (others_may_write, "others may write to"),
        (of_another_user, "belongs to another user"),
        (not_writable, "cannot be written to"),
    ],
)
def test_a_folder_that_is_not_fit_costs_a_line_and_is_not_used(
    make, said: str, home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = home / "solojax" / "programs"
    make(folder, monkeypatch)
    compilation.keep()
    assert FOLDER not in os.environ
    printed = capfd.readouterr().err
    assert printed.startswith("solojax: warning: compiled programs are not kept: ")
    assert said in printed and str(folder) in printed and printed.count("\n") == 1


def test_of_too_many_programs_those_used_longest_ago_go(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = home / "solojax" / "programs"
    folder.mkdir(parents=True, mode=0o700)
    for age, name in enumerate("abcd"):
        (folder / name).write_bytes(bytes(10))
        os.utime(folder / name, (2e9 - age, 1e9))  # read then, written at once
    monkeypatch.setattr(compilation, "LIMIT", 25)
    compilation.keep()
    assert {path.name for path in folder.iterdir()} == {"a", "b"}


X = np.linspace(-3, 3, 1000, dtype=np.float32).reshape(10, 100)


def run() -> np.ndarray:
    """Compiles a program, or takes it from where programs are kept, and runs it."""
    compilation_cache.reset_cache()
    jax.clear_caches()
    program = jax.jit(lambda x: jnp.exp(-(jnp.sin(x) ** 2)) @ jnp.cumsum(x, 1).T)
    return np.asarray(program(X))


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that holds the program of ``run``, in use and watched."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    wanted = {
        "jax_compilation_cache_dir": str(tmp_path),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_enable_compilation_cache": True,
    }
    before = {name: getattr(jax.config, name) for name in wanted}
    for name, value in wanted.items():
        jax.config.update(name, value)
    with warnings.catch_warnings():
        compilation._watch(tmp_path)
        run()
        yield tmp_path
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def test_a_kept_program_gives_the_same_bits(programs: Path) -> None:
    (entry,) = programs.iterdir()
    kept, written = run(), entry.stat().st_mtime_ns
    assert entry.stat().st_mtime_ns == written
    entry.unlink()
    np.testing.assert_array_equal(run(), kept)
    assert entry.stat().st_mtime_ns != written, "compiled anew"


@pytest.mark.parametrize("content", [b"", b"garbage", None], ids=["empty", "garbage", "cut"])
def test_damaged_programs_cost_a_line_and_are_made_anew(
    content: bytes | None, programs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (entry,) = programs.iterdir()
    whole, result = entry.read_bytes(), run()
    (programs / "another").touch()
    entry.write_bytes(whole[:-100] if content is None else content)
    np.testing.assert_array_equal(run(), result)
    printed = capfd.readouterr().err
    assert printed.startswith(f"solojax: warning: compiled programs in {programs} are made anew: ")
    assert printed.count("\n") == 1
    assert [path.name for path in programs.iterdir()] == [entry.name]
    run()
    assert capfd.readouterr().err == ""


def test_a_full_disk_costs_a_line_and_leaves_no_half_of_a_program(
    programs: Path,
    capsys: pytest.CaptureFixture[str],  # capfd writes to the disk
) -> None:
    result = run()
    for entry in programs.iterdir():
        entry.unlink()
    for _ in range(2):  # told of once
        with disk.full(room=100):
            np.testing.assert_array_equal(run(), result)
        assert not list(programs.iterdir())
    assert capsys.readouterr().err.count("\n") == 1
