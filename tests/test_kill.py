"""What a kill costs: nothing (tests/kill.py has the rest, and does it as often as one likes)."""

import time
from pathlib import Path

import pytest

from solojax.data import synthetic
from tests import kill

pytestmark = pytest.mark.slow


def test_a_run_killed_at_random_moments_ends_as_one_left_in_peace(tmp_path: Path) -> None:
    kill.main(tmp_path, kills=4)


@pytest.mark.parametrize("cache", ["a file in its place", "damaged entries"])
def test_a_compile_cache_that_cannot_be_used_stops_nothing(tmp_path: Path, cache: str) -> None:
    synthetic.draw_shapes(tmp_path / "shapes", train=20, val=4, processes=1)
    if cache == "a file in its place":
        (tmp_path / "cache").write_text("")
    else:
        train(tmp_path, "before")
        entries = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
        assert entries
        for path in entries:
            path.write_bytes(path.read_bytes()[::2])
    train(tmp_path, "run")
    numbers, _, _ = kill.outcome(tmp_path / "run")
    assert numbers[-1][0] == kill.STEPS


def train(folder: Path, name: str) -> None:
    child = kill.Child(folder)
    child.start(folder / name)
    while not child.ended():
        time.sleep(0.05)
