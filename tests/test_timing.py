"""Claims about how calls are timed, by a clock of the tests' own."""

import pytest

from solojax import timing


@pytest.fixture
def clock(monkeypatch):
    """Seconds that only calls spend."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    return now


def test_the_first_call_is_apart_and_short_calls_are_timed_together(clock):
    costs = iter([5.0] + [0.01] * 1000)

    def call():
        clock[0] += next(costs)

    found = timing.time_calls(call, repeats=4, least=0.045)
    assert found.first == 5 and found.together == 5 and len(found.seconds) == 4
    assert found.median == pytest.approx(0.01)
    assert timing.time_calls(call, repeats=3, least=0).together == 1, "the latency of each"


def test_a_slow_call_is_repeated_for_as_long_as_is_allowed_and_once_at_least(clock):
    def call():
        clock[0] += 3.0

    assert timing.time_calls(call, repeats=10, within=7).seconds == (3.0, 3.0, 3.0)
    assert timing.time_calls(call, repeats=10, within=0).quartiles == (3.0, 3.0)


def test_median_and_quartiles_are_those_of_the_repeats():
    found = timing.Timing(9.0, (5.0, 1.0, 2.0, 4.0, 3.0), 1)
    assert found.median == 3 and found.quartiles == (2, 4)
