"""How large images reach the network, and on which canvases."""

from typing import Any

import numpy as np

from solojax.config import Data
from solojax.data import fit
from solojax.recipe.decisions import Decision
from solojax.recipe.facts import LONGEST, THIN, Facts

STEP = 32  # pixels of which sides are multiples: the coarsest stride
NEARLY = 0.02  # of it, that may be missing: a camera's 3 : 2 is 1.5004
LEAST, MOST = 256, 800  # short sides; ImageNet's classifiers see 224, the published detectors 800
SMALL_SIDE = 16  # network pixels: four mask pixels each way, in which a shape can be told
SMALL_SHARE = 0.1  # of the instances may be smaller
FEWER_SIDE = 128  # the least where views are few: four cells each way of the coarsest level
LARGEST_SCALE = 1.5  # of small images; more shows nothing new
SQUARE = 1.1  # aspect up to which an image is as good as square
RARE = 0.1  # share of images of the other orientation that is not worth a program of its own
SQUARES = 0.25  # share of square ones among others that is; on another's canvas they lose a third
TILED = 1.5  # times MOST, from which side on images are cut into tiles
TILE, TILE_STEP = 512, 64  # original pixels of a tile whose small objects have SMALL_SIDE
WHOLE = 0.5  # of a tile, that nine of ten objects must fit into, to be whole on one
CUT = 8  # network pixels: below it four mask pixels in all, or half a one across; AP50 is lost


def wanted_side(facts: Facts) -> tuple[int, str]:
    """The short side at which nearly all instances have a shape, and why it is that."""
    smallest = facts.share(SMALL_SHARE)
    shorter = float(np.median(facts.shorter))
    wanted, most = SMALL_SIDE / smallest, most_side(facts)
    least = min(LEAST, shorter, most)  # enlarged, an image shows no more of its classes
    side = _multiple(np.clip(wanted, least, most))
    long_ones = shorter > np.median(facts.sizes.min(1))
    why = (
        f"{1 - SMALL_SHARE:.0%} of the objects are longer than {smallest:.1%} of "
        f"{'half the long' if long_ones else 'the short'} side, {smallest * side:.0f} pixels at "
        f"{side}"
    )
    thin = facts.lengths < np.sqrt(facts.boxes.prod(1))
    if (thin & (facts.shares <= smallest)).sum() * 2 > (facts.shares <= smallest).sum():
        why += f" ({THIN} times the width of thin ones)"
    if wanted > most:
        why += f", of {SMALL_SIDE} that a shape takes; no more, as "
        why += f"images have {shorter:.0f}" if most < MOST else "published detectors see no more"
    elif wanted < least:
        why += f"; {side} where there is time, for what tells classes apart"
    return side, why


def least_side(facts: Facts) -> int:
    """The short side at which half of the instances have a shape: no less, however few the views.

    An image teaches more when it is seen four times at half the size, but for what has no shape.
    """
    wanted, _ = wanted_side(facts)
    return min(_multiple(max(SMALL_SIDE / facts.share(0.5), FEWER_SIDE), up=True), wanted)


def tile_side(facts: Facts) -> tuple[int, str] | None:
    """Side of the tiles that large images of small objects are cut into, original pixels, and why.

    None where a look at a whole image shows the objects.
    """
    if not len(facts.images):
        return None
    small, shorter = float(np.quantile(facts.lengths, SMALL_SHARE)), float(np.median(facts.shorter))
    large = float(np.quantile(facts.longest, 1 - SMALL_SHARE))
    wanted = SMALL_SIDE / facts.share(SMALL_SHARE)
    side = int(np.clip(TILE * small / SMALL_SIDE, LEAST, 2 * TILE)) // TILE_STEP * TILE_STEP
    if wanted < TILED * MOST or side > shorter / 2 or large > WHOLE * side:
        return None
    why = (
        f"images have {shorter:.0f} pixels and a tenth of the objects less than {small:.0f}: to be "
        f"{SMALL_SIDE} long on one canvas it would take {wanted:.0f}"
    )
    return side, why


def most_side(facts: Facts) -> float:
    """The short side beyond which images show nothing new, or published detectors do not go."""
    return min(MOST, float(np.median(facts.shorter)) * LARGEST_SCALE)


def fields(facts: Facts, side: int) -> tuple[dict[str, Any], list[Decision]]:
    """Fields of ``config.Data`` for a short side, with what is to be said of them."""
    aspects = np.maximum(facts.aspects, 1 / facts.aspects)
    upright, across = facts.aspects < 1 / SQUARE, facts.aspects > SQUARE
    short = _multiple(side, up=True)
    long = _multiple(side * min(float(np.quantile(aspects, 0.9)), LONGEST), up=True)
    if max(upright.mean(), across.mean()) < 2 * RARE or long == short:
        canvases, why = [(short, short)], f"{1 - (upright | across).mean():.0%} are nearly square"
    else:
        canvases = []
        if across.mean() >= RARE:
            canvases.append((short, long))
        if upright.mean() >= RARE:
            canvases.append((long, short))
        if (square := ~(upright | across)).mean() >= SQUARES:
            canvases.append((short, short))
        why = f"{across.mean():.0%} of the images lie, {upright.mean():.0%} stand, "
        why += f"{square.mean():.0%} are nearly square"
    named = ", ".join(f"{height} x {width}" for height, width in canvases)
    decisions = [Decision("canvas", named, f"{why}; a program is compiled for each")]
    chosen: dict[str, Any] = {
        "canvases": tuple(canvases),
        "test_short_side": side,
        "long_side": max(max(canvas) for canvas in canvases),
    }
    cut = facts.lengths * scales(facts, Data(**chosen)) < CUT
    if len(cut) and cut.mean() > 0.02:
        decisions.append(
            Decision(
                "small objects",
                f"{cut.mean():.0%} below {CUT} pixels",
                f"too small for a mask, or thinner than {CUT // THIN}, as a whole image is one "
                "look: solojax data import --tiles, and predict --tiles, look closer",
                doubtful=True,
            )
        )
    return chosen, decisions


def scales(facts: Facts, data: Data) -> np.ndarray:
    """``m`` float: network pixels of an original one, for the image of each instance."""
    places = zip(facts.sizes.tolist(), fit.eval_canvases_of(facts.sizes, data), strict=True)
    heights = [fit.size_on_canvas((size[0], size[1]), data, int(at))[0] for size, at in places]
    return (heights / facts.sizes[:, 0])[facts.images]


def _multiple(side: float, up: bool = False) -> int:
    times = np.ceil(side / STEP - NEARLY) if up else np.round(side / STEP)
    return int(max(times, 1)) * STEP
