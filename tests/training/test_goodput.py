"""Seconds by a clock that the test turns on, and what of them was training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solojax.training import goodput

COMPILED = "/jax/core/compile/backend_compile_duration"


class Time:
    """Stands still until somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def compile(self, seconds: float) -> None:
        self.now += seconds
        jax.monitoring.record_event_duration_secs(COMPILED, seconds)


@pytest.fixture
def time(monkeypatch) -> Time:
    time = Time()
    monkeypatch.setattr(goodput.time, "perf_counter", time.perf_counter)
    return time


def shares_of(report: dict[str, float]) -> dict[str, float]:
    return {name: report[name] for name in goodput.ACTIVITIES if report[name]}


def test_each_second_counts_once(time):
    with goodput.Clock() as clock:
        with clock.spend("checkpointing"):
            time.sleep(2)
        with clock.spend("evaluating"):
            time.sleep(3)
        with clock.step():
            time.sleep(4)
        time.sleep(1)
        clock.wait(1)
        report = clock.report(batch_size=8, peak=None)
    assert shares_of(report) == pytest.approx(
        {"checkpointing": 0.2, "evaluating": 0.3, "waiting_for_data": 0.1}
    )
    assert report["goodput"] == pytest.approx(0.4)


def test_compiling_for_an_evaluation_is_compiling(time):
    with goodput.Clock() as clock:
        with clock.spend("evaluating"):
            time.sleep(1)
            time.compile(6)
            time.sleep(1)
        time.sleep(2)
        report = clock.report(batch_size=8, peak=None)
    assert shares_of(report) == pytest.approx({"evaluating": 0.2, "compiling": 0.6})
    assert report["compilations"] == 1 and report["goodput"] == pytest.approx(0.2)


def test_all_of_a_step_that_compiles_is_compiling(time):
    with goodput.Clock() as clock:
        with clock.step():
            time.sleep(3)  # tracing
            time.compile(4)
        with clock.step():
            time.sleep(3)
        report = clock.report(batch_size=8, peak=None)
    assert shares_of(report) == pytest.approx({"compiling": 0.7})
    assert report["goodput"] == pytest.approx(0.3)


def test_what_failed_took_its_time_as_well(time):
    with goodput.Clock() as clock:
        with pytest.raises(ZeroDivisionError), clock.spend("evaluating"):
            time.sleep(1)
            raise ZeroDivisionError
        time.sleep(3)
        assert shares_of(clock.report(8, None)) == pytest.approx({"evaluating": 0.25})


def test_images_a_second_leave_out_all_but_steps_and_their_waits(time):
    with goodput.Clock() as clock:
        for _ in range(4):
            with clock.step():
                time.sleep(0.5)
            clock.work(3e12)
        clock.wait(1)
        with clock.spend("evaluating"):
            time.sleep(8)
        report = clock.report(batch_size=6, peak=12e12)
    assert report["step_seconds"] == pytest.approx(0.5)
    assert report["images_per_second"] == pytest.approx(12)
    assert report["share_of_peak"] == pytest.approx(12e12 / 2 / 12e12)


def test_a_report_begins_the_next(time):
    with goodput.Clock() as clock:
        with clock.step():
            time.sleep(2)
        clock.work(1e12)
        with clock.spend("checkpointing"):
            time.sleep(2)
        clock.report(batch_size=8, peak=1e12)
        time.sleep(4)
        report = clock.report(batch_size=8, peak=1e12)
    assert not shares_of(report)
    assert not report.keys() & {"images_per_second", "step_seconds", "share_of_peak"}
    assert report["goodput"] == pytest.approx(6 / 8), "of the whole run"


def test_a_report_at_once_divides_by_nothing(time):
    with goodput.Clock() as clock:
        assert all(np.isfinite(value) for value in clock.report(8, 1e12).values())


def test_without_a_known_peak_nothing_is_said_of_it(time):
    with goodput.Clock() as clock:
        with clock.step():
            time.sleep(1)
        clock.work(1e12)
        assert "share_of_peak" not in clock.report(batch_size=8, peak=None)


@pytest.mark.parametrize(
    "kind, peak",
    [
        ("NVIDIA H200", 989e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("TPU v5 lite", 197e12),
        ("TPU v5p", 459e12),
        ("TPU v5", 459e12),
        ("cpu", None),
        ("NVIDIA H20", None),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", 362e12),
    ],
)
def test_the_peak_of_a_device_is_its_makers(kind, peak):
    assert goodput.peak_of(kind) == peak


def test_real_compilations_are_counted_until_the_clock_is_left():
    @jax.jit
    def double(x):
        return 2 * x

    two, three, four = (np.ones(n, np.float32) for n in (2, 3, 4))
    with goodput.Clock() as clock:
        with clock.spend("evaluating"):
            double(two).block_until_ready()
        assert clock.compilations == 1
        double(two)
        assert clock.compilations == 1
        double(three)
        assert clock.compilations == 2
        report = clock.report(batch_size=8, peak=None)
        assert 0 < report["compiling"] < 1
    double(four)
    assert clock.compilations == 2


def test_operations_are_those_that_xla_counts():
    update = jax.pmap(lambda state, batch: state @ batch, in_axes=(None, 0), axis_name="devices")
    matrix = jnp.ones((16, 16))
    one = goodput.operations_of(update.lower(matrix, jnp.ones((8, 16, 16))), accumulate=1)
    assert one >= 2 * 16**3 - 16**2
    # XLA counts the loop over the parts of a step once.
    parts = goodput.operations_of(update.lower(matrix, jnp.ones((8, 16, 16))), accumulate=4)
    assert parts == 4 * one
