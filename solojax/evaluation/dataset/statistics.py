"""What a data set holds before any training: images, instances, classes, sizes, grid if any."""

from typing import NamedTuple

import numpy as np

from solojax import config as config_lib
from solojax.data import fit
from solojax.data.findings import shorten
from solojax.data.records import coco
from solojax.evaluation.dataset import collisions, grid_search, label_maps
from solojax.heads import protocol
from solojax.heads.grid import grid_of
from solojax.types import escaped

MEDIUM, LARGE = 32**2, 96**2  # least areas, original pixels, as COCO draws the line
CLASSES = 5  # of the most and of the least frequent ones are named
BAR = 40  # characters of the longest bar


class Spread(NamedTuple):
    """Of some numbers; zeros where there are none."""

    least: float
    median: float
    greatest: float


class Statistics(NamedTuple):
    """Numbers about a split. Crowds are no instances."""

    images: int
    empty_images: int  # without an instance
    full_images: int  # with more than data.max_instances
    instances: int
    crowds: int
    small: int  # instances below a network pixel: they take no part
    class_instances: tuple[int, ...]  # of each class, in the order of the categories
    mean: float  # instances per image
    median: float
    percentile_90: float
    most: int
    histogram: dict[int, int]  # least sqrt(box area), network pixels: 0, 1, 2, 4 ... -> instances
    areas: tuple[int, int, int]  # COCO's small, medium and large instances, by original pixels
    heights: Spread  # of images, original pixels
    widths: Spread
    aspects: Spread  # width / height
    canvas_images: tuple[int, ...]  # of each of data.canvases


def report(config: config_lib.Config, split: coco.Split) -> str:
    """Reads a split, prepared first where need be, and tells all about it as lines for people.

    Raises:
      InputError: ``coco.prepare`` refuses the data set.
    """
    place, head = protocol.finder(config.model.head)
    grid, data = grid_of(head), config.data
    records = coco.prepare(data, split)
    surveyed = collisions.survey(records, data)
    sizes = f"short side {data.test_short_side}, long side at most {data.long_side}"
    if data.resize == "stretch":
        sizes = "stretched to the canvas"
    lines = [
        f"{data.root} ({split}), network pixels as for testing: {sizes}",
        table(measure(surveyed, records, data), records, data),
    ]
    if records.stuff_labels is not None:
        lines += ["", label_maps.table(label_maps.count(records), records)]
    if grid:
        lines += [
            "",
            collisions.table(grid, collisions.count(surveyed, grid)),
            "",
            grid_search.suggestion(surveyed, data, grid, place),
        ]
    return "\n".join(lines)


def measure(
    surveyed: collisions.Survey, records: coco.Records, data: config_lib.Data
) -> Statistics:
    """Counts what ``surveyed`` holds of ``records``."""
    images = len(records.image_ids)
    present = ~surveyed.crowds
    per_image = np.bincount(surveyed.images[present], minlength=images)
    areas = surveyed.areas[present]
    heights, widths = records.sizes.T
    canvas_of = fit.eval_canvases_of(records.sizes, data)
    medium, large = int((areas >= MEDIUM).sum()), int((areas >= LARGE).sum())
    return Statistics(
        images=images,
        empty_images=int((per_image == 0).sum()),
        full_images=len(np.unique(surveyed.images[surveyed.dropped])),
        instances=int(present.sum()),
        crowds=int(surveyed.crowds.sum()),
        small=int((present & ~surveyed.valid & ~surveyed.dropped).sum()),
        class_instances=_bins(surveyed.labels[present], len(records.categories)),
        mean=float(per_image.mean()),
        median=float(np.median(per_image)),
        percentile_90=float(np.quantile(per_image, 0.9)),
        most=int(per_image.max()),
        histogram=_histogram(surveyed.sizes[present]),
        areas=(len(areas) - medium, medium - large, large),
        heights=_spread(heights),
        widths=_spread(widths),
        aspects=_spread(widths / heights),
        canvas_images=_bins(canvas_of, len(data.canvases)),
    )


def table(statistics: Statistics, records: coco.Records, data: config_lib.Data) -> str:
    """The numbers as lines for people."""

    def share(part: int, whole: int) -> str:
        return f"{part} ({100 * part / max(whole, 1):.1f} %)"

    one, instances = statistics, statistics.instances
    height, width, aspect = one.heights, one.widths, one.aspects
    areas = zip(("small", "medium", "large"), one.areas, strict=True)
    used = [
        f"{canvas[0]}x{canvas[1]} {share(count, one.images)}"
        for canvas, count in zip(data.canvases, one.canvas_images, strict=True)
        if count
    ]
    return "\n".join(
        [
            f"  images               {one.images}, {one.empty_images} of them without instances",
            f"  height x width       least {height.least:g} x {width.least:g}, median "
            f"{height.median:g} x {width.median:g}, greatest {height.greatest:g} x "
            f"{width.greatest:g}",
            f"  width / height       least {aspect.least:.2f}, median {aspect.median:.2f}, "
            f"greatest {aspect.greatest:.2f}",
            f"  canvases             {', '.join(used)}",
            f"  instances            {instances}, and {one.crowds} crowds; {one.small} below a "
            "network pixel",
            f"  instances per image  mean {one.mean:.1f}, median {one.median:g}, 90 % up to "
            f"{one.percentile_90:g}, most {one.most}",
            f"  above the limit      {one.full_images} images have more than data.max_instances="
            f"{data.max_instances}",
            *_class_lines(one, records),
            "  areas as COCO's      "
            + ", ".join(f"{name} {share(count, instances)}" for name, count in areas),
            "  sqrt(box area)       in network pixels",
            *_histogram_lines(one.histogram, instances),
        ]
    )


def _class_lines(statistics: Statistics, records: coco.Records) -> list[str]:
    counts = statistics.class_instances
    by_count = sorted(range(len(counts)), key=lambda label: -counts[label])
    present = [label for label in by_count if counts[label]]
    absent = [label for label in by_count if not counts[label]]

    def names(labels: list[int]) -> str:
        return ", ".join(f"{records.categories[one].name} {counts[one]}" for one in labels)

    if len(present) <= 2 * CLASSES:
        lines = [f"  classes              {len(counts)}: {names(present)}"]
    else:
        lines = [
            f"  classes              {len(counts)}: {names(present[:CLASSES])} ...",
            f"                       ... {names(present[-CLASSES:])}",
        ]
    if absent:
        missing = shorten([records.categories[one].name for one in absent], len(absent), ", ")
        lines.append(f"  without an instance  {len(absent)}: {missing}")
    return list(map(escaped, lines))


def _histogram_lines(histogram: dict[int, int], instances: int) -> list[str]:
    longest = max(histogram.values(), default=1)
    lines = []
    for least, count in histogram.items():
        bar = "#" * int(np.ceil(BAR * count / longest))  # whoever is there is seen
        size = f"{least}..{max(2 * least, 1)}"
        lines.append(f"    {size:>10} {count:8} {100 * count / instances:6.2f} %  {bar}".rstrip())
    return lines


def _histogram(sizes: np.ndarray) -> dict[int, int]:
    """``n`` sizes -> least size of each bin, a factor of two wide, -> how many are in it."""
    if not len(sizes):
        return {}
    _, exponents = np.frexp(sizes)  # sizes are in 2 ** (exponent - 1) .. 2 ** exponent
    bins = np.maximum(np.where(sizes > 0, exponents, 0), 0)
    counts = np.bincount(bins).tolist()
    first = int(bins.min())
    return {2**bin // 2: count for bin, count in enumerate(counts) if bin >= first}


def _bins(numbers: np.ndarray, length: int) -> tuple[int, ...]:
    return tuple(np.bincount(numbers, minlength=length).tolist())


def _spread(values: np.ndarray) -> Spread:
    return Spread(float(values.min()), float(np.median(values)), float(values.max()))
