"""What is measured, and for how long."""

import dataclasses
from pathlib import Path
from typing import Any

from solojax import config as config_lib
from solojax import parallel, timing

STAGES = ("network", "detections", "masks", "run lengths")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Of a bench; the config's own precision and batch do not matter."""

    config: config_lib.Config
    canvas: tuple[int, int]  # (height, width), network pixels
    precision: parallel.Precision
    batches: tuple[int, ...]  # images of a step or of a prediction, over all devices
    scratch: Path  # a folder for what is drawn and kept on the way
    peak: float | None = None  # floating-point operations a second of one device
    repeats: int = 10
    within: float = 10.0  # seconds for the repeats of one row
    images: int = 1000  # of the sections that read or score images
    least: float = timing.LEAST  # seconds of a repeat; 0 times single calls
    stages: tuple[str, ...] = STAGES  # of a prediction
    profile: Path | None = None  # a folder for traces of some further calls, packed, a file a row

    @property
    def limits(self) -> dict[str, Any]:
        """Those of ``timing.time_calls``."""
        return {"repeats": self.repeats, "within": self.within, "least": self.least}
