"""Eight fake devices and the strict settings, for every test."""

import contextlib
import gc
import logging
import os
import re
import tempfile
from pathlib import Path

import jax
import jaxlib
import numpy as np
import pytest

from solojax import compilation

# Compiling is most of what tests wait for, and most of that is making fast what runs once. In the
# environment, so that the processes of a test have it as well.
_QUICK = [
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_parallel_codegen_split_count=1",  # each worker has one core
]
if jaxlib.__version__.startswith("0.10."):  # a flag that a jaxlib does not know ends the process
    _QUICK.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *_QUICK])
# A third of what lowering takes is writing down who called each operation.
os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"
jax.config.update("jax_traceback_in_locations_limit", 0)

# All of this must precede the first use of a device. On the CPU everywhere: the recorded numbers
# are float32.
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
# A silent broadcast between ranks has hidden more bugs than it has saved characters.
jax.config.update("jax_numpy_rank_promotion", "raise")

# Tracing makes so many small objects that looking for garbage among them takes a fifth of its time.
gc.set_threshold(20_000, 20, 100)

FOLDER = "JAX_COMPILATION_CACHE_DIR"


def pytest_configure(config: pytest.Config) -> None:
    """What one test has compiled, others and their processes find in a folder of this run.

    The name of a program that is found there is logged as that of any that is compiled.
    """
    if FOLDER not in os.environ:  # else a worker, which has it from the process that began
        home = tempfile.TemporaryDirectory(prefix="solojax-tests-")
        config.add_cleanup(home.cleanup)
        os.environ["XDG_CACHE_HOME"] = home.name  # for those that are given no variable of JAX's
        folder = Path(home.name) / "solojax" / "programs"
        folder.mkdir(mode=0o700, parents=True)
        os.environ |= {FOLDER: str(folder), **compilation.OPTIONS}
    jax.config.update("jax_compilation_cache_dir", os.environ[FOLDER])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    # Of a program that another worker is just writing.
    config.addinivalue_line("filterwarnings", f"default:{compilation.TROUBLE}:UserWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests begin, so that the last of them does not keep one core alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


FIXTURES = Path(__file__).parent / "fixtures"


def _recorded(name: str) -> dict[str, np.ndarray]:
    with np.load(FIXTURES / f"{name}.npz") as numbers:
        return dict(numbers)


@pytest.fixture(scope="session")
def tiny_solov2() -> dict[str, np.ndarray]:
    """Numbers recorded from a reference implementation of a small SOLOv2 (fixtures/README.md)."""
    return _recorded("tiny_solov2")


@pytest.fixture(scope="session")
def tiny_solo() -> dict[str, np.ndarray]:
    """The same of a small SOLO."""
    return _recorded("tiny_solo")


@pytest.fixture(scope="session")
def tiny_decoupled_solo() -> dict[str, np.ndarray]:
    """The same of the heads of Decoupled SOLO and its light model alone."""
    return _recorded("tiny_decoupled_solo")


@pytest.fixture(scope="session")
def tiny_resnet18() -> dict[str, np.ndarray]:
    """The same of a narrow ResNet-18 alone."""
    return _recorded("tiny_resnet18")


@pytest.fixture
def compiled(caplog):
    """Collects the names of the programs that are compiled in its context."""

    @contextlib.contextmanager
    def watch():
        names = []
        with jax.log_compiles(), caplog.at_level(logging.WARNING):
            yield names
        names += re.findall(r"Finished XLA compilation of jit\((.*)\)", caplog.text)

    return watch
