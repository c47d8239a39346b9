"""What a set's annotations, looked at as a whole, tell of: ``survey`` has collected them.

A share of a set is likely wrong where sound sets have none of it. The limits stand well above what
COCO has: of 4,812 of its annotations no box fits its mask to less than half, no point lies 2 pixels
outside of its image, 4 areas are wrong and 1 in 96 is a crowd.
"""

import collections
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils.epath import Path

from solojax.config import Category
from solojax.data.annotations import misplaced
from solojax.data.annotations.survey import Rows
from solojax.data.findings import Effect, Findings, shorten
from solojax.data.images.names import folded
from solojax.types import InputError

FEW = 10  # images, or instances of a class, of which little is learned and whose AP is noise
ENOUGH = 100  # instances: a smaller set has few of everything
MOST_CROWDS = 0.25  # of all instances: more are made so by an exporter
MOST_EQUAL = 1e-3  # of all instances: COCO has some that two people drew
MOST_WRONG = 0.05  # of all instances, of whatever else is not as it should be
EMPTY = 0.1  # of all images: where more have no instance, it is worth a line
TINY = 4  # pixels
MOST_TINY = 0.01  # of all instances
WHOLE = 0.98  # of an image's pixels; most of its instances have that where masks are inverted
FILLED = 0.97  # of the box around a mask, where a box was made into the mask
SEEN = 100  # pixels, from which on the shape of a mask can be told from its box
AREA_SLACK = 0.25  # of a mask's pixels, and its border, by which its area may be stated wrong


CROWDS = "crowds (iscrowd 1), from which nothing is learned"
CROWDS_CURE = "set iscrowd to 0 where it is one object; CVAT sets it for brush and SAM masks"


def check_learnable(json_path: Path, images: Sequence[Any]) -> None:
    """Raises InputError where all instances of ``annotations.Image`` are crowds."""
    every = [(one, image) for image in images for one in image.instances]
    if every and all(one.is_crowd for one, _ in every):
        places = [f"annotation {one.id} of image {image.id}" for one, image in every]
        raise InputError(
            f"{json_path}: all {len(every)} instances are {CROWDS} "
            f"({shorten(places, len(places), ', ')}); {CROWDS_CURE}"
        )


def look(rows: Rows | None, images: Sequence[Any], findings: Findings) -> None:
    """Adds what is wrong with a set of ``annotations.Image`` whose annotations are ``rows``."""
    if rows is not None:
        _look_at_crowds(rows, findings)
        _look_at_images(rows, images, findings)
        if not misplaced.look(rows, findings):  # else these would say the same again
            _look_at_areas(rows, findings)
            _look_at_shapes(rows, findings)
    _look_for_equals(images, findings)


def count(
    images: Sequence[Any],
    categories: Sequence[Category],
    findings: Findings,
    stuff: Sequence[Category] = (),
) -> None:
    """Adds the images and classes of which a network would learn little."""
    empty = [f"image {image.id}" for image in images if categories and not image.instances]
    if len(images) >= FEW and len(empty) >= EMPTY * len(images):
        findings.add_all("told", f"of {len(images)} images have no instance", empty)
    counts = collections.Counter(
        one.label for image in images for one in image.instances if not one.is_crowd
    )
    by_count = [(counts[label], category.name) for label, category in enumerate(categories)]
    none = [name for count, name in by_count if not count and counts]  # of crowds only, once
    findings.add_all("told", f"of {len(categories)} classes have no instance", none)
    if counts.total() >= ENOUGH:
        few = [f"{name}: {count}" for count, name in sorted(by_count) if 0 < count < FEW]
        what = f"of {len(categories)} classes have fewer than {FEW} instances"
        findings.add_all("told", what, few)
    names = collections.defaultdict(list)
    for category in (*categories, *stuff):
        names[folded(category.name)].append(category)
    for same in names.values():
        if len(same) > 1:
            ids = [f"{one.name!r} is {one.id}" for one in same]
            cure = "they are told apart by their ids; give each a name, or one id to both"
            what = f"classes have the name {same[0].name!r}"
            findings.add_all("doubtful", what, ids, cure=cure)


def _look_at_crowds(rows: Rows, findings: Findings) -> None:
    count = int(rows.crowd.sum())
    if count > MOST_CROWDS * len(rows.ids):
        what = f"of {len(rows.ids)} instances are {CROWDS}"
        rows.add(findings, "doubtful", what, rows.crowd, CROWDS_CURE)


def _look_at_images(rows: Rows, images: Sequence[Any], findings: Findings) -> None:
    full = np.unique(rows.image_ids)
    if len(full) == 1 and len(images) >= 3 and len(rows.ids) >= 3:
        what = f"instances, all there are, lie in one of {len(images)} images"
        cure = "see that image_id says which image an annotation belongs to"
        findings.add("doubtful", what, f"image {full[0]}", cure=cure, count=len(rows.ids))


def _look_for_equals(images: Sequence[Any], findings: Findings) -> None:
    equal, count = [], 0
    for image in images:
        count += len(image.instances)
        if len(image.instances) > 1:
            first: dict[Any, int] = {}
            for one in image.instances:
                other = first.setdefault((one.label, one.rle, one.is_crowd), one.id)
                if other != one.id:
                    equal.append(f"annotation {one.id} as {other} of image {image.id}")
    effect: Effect = "doubtful" if len(equal) > MOST_EQUAL * count else "told"
    what = f"of {count} instances are there twice: the same image, class and mask"
    findings.add_all(effect, what, equal, cure="delete one of each")


def _look_at_areas(rows: Rows, findings: Findings) -> None:
    width, height = (rows.masks[:, 2:] - rows.masks[:, :2]).T
    with np.errstate(invalid="ignore"):
        slack = AREA_SLACK * rows.pixels + width + height
        known = np.isfinite(rows.areas) & (rows.pixels > 0)
        wrong = known & (np.abs(rows.areas - rows.pixels) > slack)
        if not wrong.any() or wrong.sum() < MOST_WRONG * known.sum():
            return
        boxes = rows.stated[:, 2] * rows.stated[:, 3]
        as_box = np.abs(rows.areas - boxes) <= 0.02 * boxes + 1
    of = f"of {known.sum()} instances have"
    cure = "small, medium and large are judged by it; count the mask's pixels"
    if (rows.areas[wrong] == 0).all():
        rows.add(findings, "told", f"{of} the area 0", wrong, cure)
    elif as_box[wrong].mean() > 0.9:
        what = f"{of} the area of their box, not of their mask"
        rows.add(findings, "told", what, wrong, cure)
    else:
        rows.add(findings, "doubtful", f"{of} an area far from their mask's", wrong, cure)


def _look_at_shapes(rows: Rows, findings: Findings) -> None:
    read = (rows.pixels > 0) & ~rows.crowd
    count = int(read.sum())
    frames = rows.frames.prod(1)
    whole = read & (rows.pixels >= WHOLE * frames)
    if count >= 3 and whole.sum() > count / 2:
        what = f"of {count} instances cover their whole image"
        cure = "see whether their masks are of the background"
        rows.add(findings, "doubtful", what, whole, cure)
    tiny = read & (rows.pixels < TINY)
    if tiny.sum() > MOST_TINY * count:
        what = f"of {count} instances have fewer than {TINY} pixels"
        rows.add(findings, "told", what, tiny)
    large = read & (rows.pixels >= SEEN) & ~whole
    with np.errstate(invalid="ignore"):
        filled = rows.pixels >= FILLED * (rows.masks[:, 2:] - rows.masks[:, :2]).prod(1)
    if large.sum() >= FEW and (filled & large).sum() > 0.99 * large.sum():
        what = f"of {count} instances are rectangles, as where boxes were made into masks"
        rows.add(findings, "told", what, filled & large)
