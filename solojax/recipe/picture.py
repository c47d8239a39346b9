"""A plan drawn: the sizes of the objects over the levels of the grid, the images on their canvases.

An SVG that needs nothing else.
"""

import math
from collections.abc import Iterator
from html import escape

import numpy as np

from solojax.config import Config
from solojax.data import fit
from solojax.heads.grid import Grid, grid_of
from solojax.recipe.canvas import CUT, SMALL_SIDE, scales
from solojax.recipe.facts import Facts

WIDTH, HEIGHT = 900, 300  # SVG units
LEFT, TOP, SPAN, TALL = 40, 40, 500, 130  # of the histogram
SHAPES = 665, 40, 200  # left, top and side of the canvases
BINS = 4  # of an octave
LEVELS = ("#3b6ea5", "#4f9d69", "#c28f2c", "#b5533c", "#7d5ba6")
MOST_DOTS = 500  # images that are drawn, the first


def draw(facts: Facts, config: Config) -> str:
    """The SVG of a plan.

    Args:
      facts: of the data that the config is for.
      config: of a head with a grid, or without.
    """
    parts = [*_sizes(facts, config), *_canvases(facts, config)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="11" fill="#333">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _sizes(facts: Facts, config: Config) -> Iterator[str]:
    sides = np.sqrt(facts.boxes.prod(1))  # as the levels have it
    sizes = np.maximum(sides * scales(facts, config.data), 1)
    longest = math.ceil(math.log2(max(config.data.long_side, 2)))

    def across(size: float) -> float:
        return LEFT + SPAN * min(math.log2(max(size, 1)) / longest, 1)

    yield _text(LEFT, TOP - 16, f"{len(sizes):,} objects by the square root of their box, pixels")
    counts, edges = np.histogram(np.log2(sizes), BINS * longest, (0, longest))
    for count, start in zip(counts / max(counts.max(), 1), edges, strict=False):
        x, tall = across(2**start), TALL * count
        yield _bar(x, TOP + TALL - tall, SPAN / len(counts) - 1, tall, "#9aa7b3")
    for size, what, anchor, beside in (
        (CUT, "no shape", "end", -3),
        (SMALL_SIDE, "a shape", "start", 3),
    ):
        x = across(size)
        yield (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{TOP + TALL}" stroke="#b5533c" '
            'stroke-dasharray="4 3"/>'
        )
        yield _text(x + beside, TOP + 9, what, anchor)
    for power in range(longest + 1):
        yield _text(across(2**power), TOP + TALL + 14, str(2**power), "middle")
    grid = grid_of(config.model.head) or Grid((), (), (), ())
    for number, (name, side, (least, greatest)) in enumerate(
        zip(grid.levels, grid.sizes, grid.scale_ranges, strict=True)
    ):
        y = TOP + TALL + 24 + 18 * number
        start, end = across(least), across(greatest)
        yield _bar(start, y, end - start, 12, LEVELS[number])
        yield _text(end + 5, y + 10, f"{name}: {side} x {side} cells")


def _canvases(facts: Facts, config: Config) -> Iterator[str]:
    left, top, side = SHAPES
    data = config.data
    scale = side / max(max(canvas) for canvas in data.canvases)
    yield _text(left, top - 16, "canvases, and images on them")
    chosen = fit.eval_canvases_of(facts.sizes[:MOST_DOTS], data)
    for height, width in data.canvases:
        yield (
            f'<rect x="{left}" y="{top}" width="{width * scale:.1f}" height="{height * scale:.1f}" '
            'fill="none" stroke="#3b6ea5"/>'
        )
        yield _text(
            left + width * scale - 3, top + height * scale - 4, f"{height} x {width}", "end"
        )
    for size, number in zip(facts.sizes[:MOST_DOTS].tolist(), chosen.tolist(), strict=True):
        height, width = fit.size_on_canvas((size[0], size[1]), data, number)
        x, y = left + width * scale, top + height * scale
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#b5533c" fill-opacity=".3"/>'


def _bar(x: float, y: float, width: float, height: float, color: str) -> str:
    size = f'width="{max(width, 0):.1f}" height="{height:.1f}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" {size} fill="{color}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
