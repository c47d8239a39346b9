"""How many images a second the pipeline makes, where the time goes, and what memory it takes."""

import contextlib
import cProfile
import os
import pstats
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from solojax import config as config_lib
from solojax.data import augment, examples, pipeline, rle, transforms
from solojax.data.records import coco
from solojax.types import InputError

PROFILED = 200  # images
WARM_UP = pipeline.PREFETCHED + 2  # batches, twice: to start all threads, then to use up what they
# made before they were bound to their cores
MEBIBYTE = 2**20

STAGES: dict[str, Callable[..., Any]] = {
    "read the record": coco.read,
    "decode the image": coco.image_of,
    "distort its colours": augment.distort_colors,
    "draw a crop": augment.draw_iou_crop,
    "resize and place it": transforms.place_image,
    "decode the masks": rle.decode_patches,
    "resize and place them": transforms.place_shapes,
    "paste": transforms.paste,
    "grid mask": augment.grid_mask,
    "erase": augment.erase,
    "make the targets": transforms.make_instances,
}


class Throughput(NamedTuple):
    """What was measured."""

    rates: dict[int, float]  # images a second, by number of cores
    stages: dict[str, float]  # milliseconds an image on one core, by what was done
    memory: tuple[int, int]  # resident bytes at a fifth of the images and at the end
    images: int


def measure(
    records: coco.Records,
    data: config_lib.Data,
    *,
    mask_strides: tuple[int, ...],
    label_strides: tuple[int, ...] = (),
    batch_size: int,
    images: int,
) -> Throughput:
    """Makes ``images`` images of a training and throws them away, on all cores, then on one.

    Raises:
      InputError: the system cannot bind threads to cores.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise InputError("bench data binds threads to cores, which only Linux can")
    settings = {
        "mask_strides": mask_strides,
        "label_strides": label_strides,
        "batch_size": batch_size,
        "seed": 0,
    }
    load = examples.train_examples(records, data, **settings)  # type: ignore[arg-type]
    profile = cProfile.Profile()
    for number in tqdm(range(PROFILED), "profiling", unit="image"):
        profile.runcall(load, *divmod(number, batch_size))

    def run(cores: int, steps: int) -> tuple[float, list[int]]:
        batches = pipeline.train_batches(
            records,
            data,
            first=0,
            last=steps + 2 * WARM_UP,
            **settings,  # type: ignore[arg-type]
        )
        for _ in range(WARM_UP):
            next(batches)
        memory = []
        with _only(cores):
            for _ in range(WARM_UP):
                next(batches)
            start = time.perf_counter()
            for _ in tqdm(range(steps), f"on {cores} of the cores", unit="batch"):
                next(batches)
                memory.append(_resident())
            return steps * batch_size / (time.perf_counter() - start), memory

    every, steps = coco.workers(), -(-images // batch_size)
    rate, memory = run(every, steps)
    rates = {every: rate}
    if every > 1:
        rates[1], _ = run(1, max(steps // (2 * every), 1))
    kept = memory[len(memory) // 5], memory[-1]
    return Throughput(rates, _stages(profile), kept, steps * batch_size)


def table(measured: Throughput) -> str:
    """The numbers as lines for people."""
    one = measured.rates[1]
    lines = ["images a second"]
    for cores, rate in sorted(measured.rates.items()):
        name = "one core" if cores == 1 else f"{cores} cores ({rate / one:.2f} x)"
        lines.append(f"  {name:22}{rate:8.1f}")
    lines.append("milliseconds an image, on one core")
    lines += [f"  {name:22}{value:8.2f}" for name, value in measured.stages.items()]
    # What the batches take beyond the examples they are made of.
    lines.append(f"  {'batch and hand over':22}{1000 / one - sum(measured.stages.values()):8.2f}")
    first, last = measured.memory
    lines += [
        "resident memory",
        f"  after {measured.images // 5:7} images {first / MEBIBYTE:8,.0f} MiB",
        f"  after {measured.images:7} images {last / MEBIBYTE:8,.0f} MiB "
        f"({100 * (last - first) / first:+.1f} %)",
    ]
    return "\n".join(lines)


def _stages(profile: cProfile.Profile) -> dict[str, float]:
    """Milliseconds an image by stage, those that took none left out, and the rest."""
    stats: dict[tuple, tuple] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    stages = {}
    for name, function in STAGES.items():
        code = function.__code__
        where = (code.co_filename, code.co_firstlineno, code.co_name)
        if where in stats:
            stages[name] = stats[where][3] * 1000 / PROFILED
    whole = sum(entry[2] for entry in stats.values()) * 1000 / PROFILED
    return {**stages, "everything else": whole - sum(stages.values())}


@contextlib.contextmanager
def _only(cores: int) -> Iterator[None]:
    """Lets all threads of this process run on so many of its cores alone (Linux)."""
    before = os.sched_getaffinity(0)
    _bind(sorted(before)[:cores])
    try:
        yield
    finally:
        _bind(before)


def _bind(cores: Collection[int]) -> None:
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):  # it has ended in the meantime
            os.sched_setaffinity(int(thread), cores)


def _resident() -> int:
    """Bytes of this process in memory now (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
