"""What a kill costs: nothing (tests/kill.py has the rest, and does it as often as one likes)."""

from pathlib import Path

import pytest

from tests import kill

pytestmark = pytest.mark.slow


def test_a_run_killed_at_random_moments_ends_as_one_left_in_peace(tmp_path: Path) -> None:
    kill.main(tmp_path, kills=6, network=False)


@pytest.mark.long
def test_a_network_killed_at_random_moments_ends_as_one_left_in_peace(tmp_path: Path) -> None:
    kill.main(tmp_path, kills=20)
