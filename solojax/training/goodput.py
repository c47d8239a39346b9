"""Where the time of a training goes, and how much of a device it uses."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any, Literal

import jax

Activity = Literal["waiting_for_data", "compiling", "checkpointing", "evaluating"]
ACTIVITIES: tuple[Activity, ...] = (
    "waiting_for_data",
    "compiling",
    "checkpointing",
    "evaluating",
)

# Dense bfloat16 (V100: float16) operations a second of one device, as its maker states them; by
# the beginning of its name in JAX, longer names first.
PEAKS = {
    "NVIDIA H200": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H100": 989e12,
    "NVIDIA A100": 312e12,
    "NVIDIA L40S": 362e12,
    "NVIDIA L40": 181e12,
    "NVIDIA L4": 121e12,
    "Tesla V100": 125e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
}


def peak_of(device_kind: str) -> float | None:
    """Operations a second that a device can do at most, where it is known."""
    return next((peak for name, peak in PEAKS.items() if device_kind.startswith(name)), None)


def operations_of(lowered: Any, accumulate: int) -> float:
    """Floating-point operations of a lowered update on one device, as XLA counts; 0: it cannot.

    XLA counts a loop once, and nearly all of an update is the loop over its parts.
    """
    analysis = lowered.cost_analysis() or {}
    return accumulate * float(analysis.get("flops", 0))


class Clock:
    """Adds up seconds by activity; what is left of the time is training."""

    def __init__(self) -> None:
        self._spent = dict.fromkeys(ACTIVITIES, 0.0)
        self._compiled = 0.0  # seconds, as JAX tells of them
        self.compilations = 0
        self._began = self._since = time.perf_counter()
        self._before = dict(self._spent)
        self._steps, self._operations = 0, 0.0

    def __enter__(self) -> "Clock":
        jax.monitoring.register_event_duration_secs_listener(self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        jax.monitoring.unregister_event_duration_listener(self._hear)

    def _hear(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            self._compiled += duration_secs
            self.compilations += 1

    @contextlib.contextmanager
    def spend(self, activity: Activity) -> Iterator[None]:
        """Counts what is in it as an activity, but for what it compiles."""
        start, compiled = time.perf_counter(), self._compiled
        try:
            yield
        finally:
            compiled = self._compiled - compiled
            self._spent["compiling"] += compiled
            self._spent[activity] += time.perf_counter() - start - compiled

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Counts one step; where its call compiles, the whole of the call is compiling."""
        start, before = time.perf_counter(), self.compilations
        yield
        if self.compilations > before:
            self._spent["compiling"] += time.perf_counter() - start
        self._steps += 1

    def wait(self, seconds: float) -> None:
        """Counts a wait for data."""
        self._spent["waiting_for_data"] += seconds

    def work(self, operations: float) -> None:
        """Counts floating-point operations of one device."""
        self._operations += operations

    def report(self, batch_size: int, peak: float | None) -> dict[str, float]:
        """About the time since the last report, and ``goodput``, the share of training in all.

        Shares are in 0..1. The steps' own time is what the activities leave, waits included.
        """
        now = time.perf_counter()
        seconds = max(now - self._since, 1e-9)
        here = {name: self._spent[name] - self._before[name] for name in ACTIVITIES}
        numbers: dict[str, float] = {name: spent / seconds for name, spent in here.items()}
        numbers["compilations"] = self.compilations  # so far
        numbers["goodput"] = 1 - sum(self._spent.values()) / max(now - self._began, 1e-9)
        stepping = max(seconds - sum(here.values()) + here["waiting_for_data"], 1e-9)
        if self._steps:
            numbers["step_seconds"] = stepping / self._steps
            numbers["images_per_second"] = batch_size * self._steps / stepping
        if peak and self._operations:
            numbers["share_of_peak"] = self._operations / stepping / peak
        self._since, self._before = now, dict(self._spent)
        self._steps, self._operations = 0, 0.0
        return numbers
