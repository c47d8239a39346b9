"""All sections of a bench, as numbers and as lines."""

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from solojax import config as config_lib
from solojax import parallel
from solojax.bench import (
    data,
    evaluation,
    machine,
    nms,
    predict,
    rows,
    start,
    synthetic,
    train,
)
from solojax.bench.settings import Settings
from solojax.training import memory
from solojax.types import InputError

SECTIONS: dict[str, Callable[[Settings], Iterator[rows.Row]]] = {
    "train": train.section,
    "predict": predict.section,
    "nms": nms.section,
    "data": data.section,
    "evaluation": evaluation.section,
    "start": start.section,
}


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What a command line may ask for beside the config."""

    sections: Sequence[str] = tuple(SECTIONS)
    batches: Sequence[int] = (1,)
    precision: str = "auto"
    repeats: int = 10
    within: float = 10.0  # seconds of one row
    images: int = 1000  # of the sections data and evaluation


def bench(
    config: config_lib.Config, wishes: Wishes, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Measures and says each row as it comes; gives all of it, as ``reports.write`` takes it.

    Nothing that was compiled before is used, so that compiling is measured as well.

    Raises:
      InputError: a batch that does not divide over the devices, a number that makes no sense.
    """
    for name in ("repeats", "within", "images"):
        if not getattr(wishes, name) > 0:
            raise InputError(f"--{name} {getattr(wishes, name)} must be above 0")
    precision = parallel.resolve_precision(wishes.precision)
    for batch in wishes.batches if "train" in wishes.sections else ():
        parallel.check_divisible(batch, config.training.accumulate)
    with tempfile.TemporaryDirectory(prefix="solojax-bench-") as scratch, _nothing_kept():
        about = machine.about(precision)
        settings = Settings(
            config,
            synthetic.largest(config),
            precision,
            tuple(wishes.batches),
            Path(scratch),
            about["peak"],
            wishes.repeats,
            wishes.within,
            wishes.images,
        )
        for line in (*machine.lines(), _headline(settings, about)):
            say(line)
        found: dict[str, list[rows.Row]] = {}
        for name in wishes.sections:
            say(f"{name}\n{rows.HEADER}")
            found[name] = []
            for row in SECTIONS[name](settings):
                found[name].append(row)
                say(rows.line(row))
    return {**about, "canvas": list(settings.canvas), "precision": precision, "sections": found}


def _headline(settings: Settings, about: dict[str, Any]) -> str:
    source = "as its maker states it" if about["devices"]["peak"] else "which shares are of"
    return (
        f"{memory.name_of(settings.canvas)}, {settings.precision}; a product of matrices makes "
        f"{about['product_rate'] / 1e12:.3g} TFLOP/s, peak {about['peak'] / 1e12:.3g}, {source}"
    )


@contextlib.contextmanager
def _nothing_kept() -> Iterator[None]:
    """Has JAX compile what others have compiled before."""
    name = "jax_enable_compilation_cache"
    before = getattr(jax.config, name)
    jax.config.update(name, False)
    try:
        yield
    finally:
        jax.config.update(name, before)
