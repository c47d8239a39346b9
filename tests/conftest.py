"""Eight fake devices and the strict settings, for every test."""

from pathlib import Path

import jax
import numpy as np
import pytest

# Must precede the first use of a device. On the CPU everywhere: the recorded numbers are float32.
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
# A silent broadcast between ranks has hidden more bugs than it has saved characters.
jax.config.update("jax_numpy_rank_promotion", "raise")

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="session")
def tiny_solov2() -> dict[str, np.ndarray]:
    """Numbers recorded from a reference implementation of a small SOLOv2 (fixtures/README.md)."""
    with np.load(FIXTURES / "tiny_solov2.npz") as numbers:
        return dict(numbers)


@pytest.fixture(scope="session")
def tiny_solo() -> dict[str, np.ndarray]:
    """The same of a small SOLO."""
    with np.load(FIXTURES / "tiny_solo.npz") as numbers:
        return dict(numbers)
