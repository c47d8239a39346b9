"""All that is wanted of a rented accelerator, the most wanted first, within some minutes.

What was found is written after every row, so that an end that comes too soon leaves the rest. No
row is begun for which less time is left than the longest so far took.
"""

import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from solojax import config as config_lib
from solojax import writing
from solojax.bench import machine, nms, numerics, page, predict, reports, rows, synthetic, train
from solojax.bench.settings import Settings
from solojax.training import out_of_memory

GROWTH = 1.03  # of the images a second that a batch twice as large must bring, else no larger one


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is measured, and how long it may take."""

    networks: dict[str, config_lib.Config]  # by name, the most wanted first
    minutes: float = 8.0
    batch: int = 16  # of a training, and of a prediction beside that of one image
    repeats: int = 10
    within: float = 3.0  # seconds of a row
    largest: int = 256  # images at once that are tried
    compared: tuple[int, int] = (256, 320)  # canvas on which numbers are compared with the CPU's


def bench(
    plan: Plan, out: Path, twin: dict[str, list[rows.Row]], say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Measures by a plan; leaves ``results.json``, ``results.md`` and ``profile`` in a folder.

    Args:
      plan: what and how long.
      out: the folder; in ``profile`` are packed what ``tensorboard`` and ``xprof`` read.
      twin: rows of another implementation by network, to put beside ours.
      say: is told each row as it comes.

    Returns:
      What ``results.json`` holds.
    """
    begun = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    about = machine.about("bfloat16")
    about["product_rate_float32"] = machine.product_rate(
        machine.PRODUCT[about["devices"]["platform"] != "cpu"] // 2, jnp.float32
    )
    report: dict[str, Any] = {**about, "networks": {}, "twin": twin, "skipped": []}
    for line in machine.lines():
        say(line)
    longest, ends = 0.0, begun + 60 * plan.minutes
    for name, network, step in _steps(plan, out, about["peak"]):
        found = report["networks"].setdefault(network, {"rows": [], "numerics": None})
        say(f"{network}: {name}, {ends - time.monotonic():.0f} s left\n{rows.HEADER}")
        results = step(found["rows"])
        while True:
            start = time.monotonic()
            if start + longest > ends:
                report["skipped"].append(f"{network}: {name}")
                break
            try:
                result = next(results, None)
            except Exception as error:  # nobody is there to begin again
                said = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
                result = {"name": name, "images": 0, "fails": said}
            if result is None:
                break
            if "outputs" in result.get("float32", {}):
                found["numerics"] = result
                say(str(result))
            else:
                found["rows"].append(result)
                say(rows.line(result))
            longest = max(longest, time.monotonic() - start)
            _write(out, report)
    report["seconds"] = time.monotonic() - begun
    _write(out, report)
    return report


def _write(out: Path, report: dict[str, Any]) -> None:
    reports.write(out / "results.json", report)
    writing.put(out / "results.md", page.page(report).encode())


Step = Callable[[list[rows.Row]], Iterator[dict[str, Any]]]
"""The rows of its network so far -> more of them, or distances of numbers."""


def _steps(plan: Plan, out: Path, peak: float) -> Iterator[tuple[str, str, Step]]:
    """(name, network, step) in the order of what is wanted most."""
    base = {
        name: Settings(
            config,
            synthetic.largest(config),
            "bfloat16",
            (plan.batch,),
            out,
            peak,
            plan.repeats,
            plan.within,
            profile=out / "profile" if number == 0 else None,
        )
        for number, (name, config) in enumerate(plan.networks.items())
    }
    for name, settings in base.items():
        found = dataclasses.replace(settings, stages=("network", "masks"))
        yield "predict", name, functools.partial(_section, predict.section, found)
        yield "train", name, functools.partial(_section, train.section, settings)
        suppress = dataclasses.replace(settings, profile=None)
        yield "nms", name, functools.partial(_section, nms.section, suppress)
        alone = dataclasses.replace(found, batches=(1,), least=0.0, profile=None)
        yield (
            "predict one image, its latency",
            name,
            functools.partial(_section, predict.section, alone),
        )
    last, config = list(plan.networks.items())[-1]

    def numbers(_: list[rows.Row]) -> Iterator[dict[str, Any]]:
        yield numerics.distances(config, plan.compared, 2)

    yield "numbers beside the CPU's", last, numbers
    for name, settings in base.items():
        settings = dataclasses.replace(settings, profile=None)
        remat = out_of_memory.remat_overrides(settings.config.model)
        again = config_lib.override(settings.config, *remat)
        yield (
            "train, computed again",
            name,
            functools.partial(
                _section,
                train.section,
                dataclasses.replace(settings, config=again),
                ending=", remat",
            ),
        )
        for kind, section, stages in (
            ("predict", predict.section, ("masks",)),
            ("train", train.section, ()),
        ):
            larger = dataclasses.replace(settings, stages=stages)
            yield (
                f"{kind} larger batches",
                name,
                functools.partial(_larger, section, larger, plan.largest),
            )
        host = dataclasses.replace(settings, stages=("detections", "run lengths"))
        yield "predict to the host", name, functools.partial(_section, predict.section, host)


def _section(
    section: Callable[[Settings], Iterator[rows.Row]],
    settings: Settings,
    _: list[rows.Row],
    ending: str = "",
) -> Iterator[rows.Row]:
    for row in section(settings):
        yield {**row, "name": row["name"] + ending}


def _larger(
    section: Callable[[Settings], Iterator[rows.Row]],
    settings: Settings,
    largest: int,
    before: list[rows.Row],
) -> Iterator[rows.Row]:
    """Twice as many images as long as that brings anything and fits."""
    (batch,) = settings.batches
    kind = "masks" if settings.stages else "step"
    known = {row["name"]: row.get("images_per_second", 0.0) for row in before}
    rate = known.get(f"{kind}, batch {batch}", 0.0)
    for doublings in itertools.count(1):
        images = batch * 2**doublings
        if images > largest:
            return
        (row,) = section(dataclasses.replace(settings, batches=(images,)))
        yield row
        if row.get("images_per_second", 0.0) < GROWTH * rate:
            return
        rate = row["images_per_second"]
