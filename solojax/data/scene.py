"""Draws what is on a canvas: one image or several, their colours, windows, sizes and places.

Nothing is drawn for what has a probability of 0, so that a recipe's numbers stay what they were
when another augmentation is added to the program.
"""

from typing import NamedTuple

import numpy as np

from solojax import config as config_lib
from solojax.data import annotations, augment, rle, transforms
from solojax.data.records import coco
from solojax.types import IGNORED

FILL = (124, 116, 104)  # RGB of what is dropped: ImageNet's mean, 0 by the usual normalisation
PASTED_SHARE = 0.5  # of the other image's instances, each
MOSAIC_SCALE = 0.5  # of its images, against an image alone
MOSAIC_CENTER = (0.3, 0.7)  # where its four images meet, as a share of the canvas each way


class Scene(NamedTuple):
    """A canvas and what is on it."""

    image: np.ndarray  # H W 3 uint8
    filled: tuple[int, int]  # (height, width) of the part from the top left that is image
    shapes: transforms.Shapes
    labels: np.ndarray | None = None  # H W uint8, where label maps are asked for


def draw_scene(
    rng: np.random.Generator,
    records: coco.Records,
    data: config_lib.Data,
    index: int,
    canvas: tuple[int, int],
    step: int,
    label_maps: bool = False,
) -> Scene:
    """All of the recipe, for the image ``index``."""
    wanted = data.augmentation
    labels = np.full(canvas, IGNORED, np.uint8) if label_maps else None
    if wanted.mosaic_probability and rng.random() < wanted.mosaic_probability:
        scene = _draw_mosaic(rng, records, data, index, canvas, labels)
    else:
        scene = _draw_single(rng, records, data, index, canvas, labels)
    height, width = scene.filled  # without what is pasted beside it: there is little to drop
    if wanted.copy_paste_probability and rng.random() < wanted.copy_paste_probability:
        scene = _draw_pasted(rng, records, data, scene)
    view = scene.image[:height, :width]
    if wanted.grid_mask_probability:
        steps = wanted.grid_mask_ramp_steps
        probability = augment.ramp(step, wanted.grid_mask_probability, steps)
        view[...] = augment.grid_mask(view, rng, probability, FILL)
    if wanted.erase_probability:
        view[...] = augment.erase(view, rng, wanted.erase_probability)
    return scene


def _draw_single(
    rng: np.random.Generator,
    records: coco.Records,
    data: config_lib.Data,
    index: int,
    canvas: tuple[int, int],
    labels: np.ndarray | None = None,
) -> Scene:
    """One image at the top left of the canvas; ``labels`` is drawn upon, if there is one."""
    source = _draw_source(rng, records, data, index, labels is not None)
    original, window = pair(source.image.shape), source.window
    size = _draw_size(rng, data, window, canvas)
    if data.augmentation.scale_range is not None:
        window, size = _cut(window, size, canvas, rng.random(), rng.random())
    flip = _draw_flip(rng, data)
    placement = transforms.Placement(original, size, flip, window)
    image = np.zeros((*canvas, 3), np.uint8)
    return Scene(image, size, _place(source, placement, image, labels), labels)


def _draw_mosaic(
    rng: np.random.Generator,
    records: coco.Records,
    data: config_lib.Data,
    index: int,
    canvas: tuple[int, int],
    labels: np.ndarray | None,
) -> Scene:
    """Four images at about half their size, one in each corner around a point (YOLOv4)."""
    image = np.full((*canvas, 3), FILL, np.uint8)
    y, x = (int(side * rng.uniform(*MOSAIC_CENTER)) for side in canvas)
    others = rng.integers(len(records.image_ids), size=3).tolist()
    parts = []
    for number, one in enumerate([index, *others]):
        below, right = divmod(number, 2)
        source = _draw_source(rng, records, data, one, labels is not None)
        height, width = _draw_size(rng, data, source.window, canvas)
        full = max(int(height * MOSAIC_SCALE), 1), max(int(width * MOSAIC_SCALE), 1)
        flip = _draw_flip(rng, data)
        room = (canvas[0] - y if below else y), (canvas[1] - x if right else x)
        # It touches the point where all meet; what has no room is cut off on the other side.
        from_left = bool(right) != flip
        window, size = _cut(source.window, full, room, 1 - below, 0 if from_left else 1)
        corner = y if below else y - size[0], x if right else x - size[1]
        original = pair(source.image.shape)
        placement = transforms.Placement(original, size, flip, window, corner)
        parts.append(_place(source, placement, image, labels))
    return Scene(image, canvas, transforms.merge(parts), labels)


def _draw_pasted(
    rng: np.random.Generator, records: coco.Records, data: config_lib.Data, scene: Scene
) -> Scene:
    """Some instances of another image, placed as it would be, on top (Simple Copy-Paste)."""
    canvas = pair(scene.image.shape)
    other = _draw_single(rng, records, data, int(rng.integers(len(records.image_ids))), canvas)
    instances = np.flatnonzero(~other.shapes.crowd)
    chosen = instances[rng.random(len(instances)) < PASTED_SHARE]
    if not len(chosen):
        return scene
    # They may come to lie beside the image, which then has to count as one.
    height, width = scene.filled
    scene.image[height:] = FILL
    scene.image[:, width:] = FILL
    pasted = transforms.select(other.shapes, chosen)
    shapes = transforms.paste(scene.image, scene.shapes, other.image, pasted)
    if scene.labels is not None:
        transforms.draw_labels(pasted, scene.labels)
    return scene._replace(filled=canvas, shapes=shapes)


class _Source(NamedTuple):
    """A record as read, in original pixels."""

    image: np.ndarray
    instances: list[annotations.Instance]
    window: augment.Window  # what is to be seen of it
    labels: np.ndarray | None  # H W uint8, where it has any and they are asked for


def _draw_source(
    rng: np.random.Generator,
    records: coco.Records,
    data: config_lib.Data,
    index: int,
    label_maps: bool,
) -> _Source:
    """Reads a record and draws its colours and its window."""
    wanted = data.augmentation
    record = coco.read(records, index)
    image = coco.image_of(record)
    instances = record.instances
    window: augment.Window = (0, 0, *pair(image.shape))
    if wanted.color_probability:
        image = augment.distort_colors(image, rng, wanted.color_probability)
    if wanted.crop_probability and rng.random() < wanted.crop_probability:
        boxes = np.array([instance.box for instance in instances])
        regular = [not instance.is_crowd for instance in instances]
        window = augment.draw_iou_crop(rng, pair(image.shape), boxes[regular])
        seen = augment.inside(boxes, window)
        # What is left of a crowd in the window is one still.
        instances = [one for one, kept in zip(instances, seen, strict=True) if kept or one.is_crowd]
    labels = coco.labels_of(records, record) if label_maps else None
    return _Source(image, instances, window, labels)


def _draw_size(
    rng: np.random.Generator,
    data: config_lib.Data,
    window: augment.Window,
    canvas: tuple[int, int],
) -> tuple[int, int]:
    """(height, width) by the recipe: the canvas', for a short side, or of any size, for a scale."""
    if data.resize == "stretch":
        return canvas
    scale_range = data.augmentation.scale_range
    if scale_range is not None:
        # Whatever the canvas takes is the limit to start from; no other one is meant.
        height, width = transforms.fit_size(_extent(window), canvas, max(canvas), max(canvas))
        scale = rng.uniform(*scale_range)
        return max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)
    short_side = data.train_short_sides[rng.integers(len(data.train_short_sides))]
    return transforms.fit_size(_extent(window), canvas, short_side, data.long_side)


def _draw_flip(rng: np.random.Generator, data: config_lib.Data) -> bool:
    return bool(rng.random() < data.augmentation.flip_probability)


def _place(
    source: _Source,
    placement: transforms.Placement,
    canvas: np.ndarray,
    labels: np.ndarray | None,
) -> transforms.Shapes:
    """Draws a source onto a canvas, and its labels onto theirs; returns its instances there."""
    transforms.place_image(source.image, placement, canvas)
    if labels is not None and source.labels is not None:
        transforms.place_labels(source.labels, placement, labels)
    return transforms.place_shapes(
        rle.decode_patches([one.rle for one in source.instances], placement.original[0]),
        np.array([one.box for one in source.instances]),
        np.array([one.label for one in source.instances]),
        placement,
        np.array([one.is_crowd for one in source.instances]),
    )


def _cut(
    window: augment.Window,
    size: tuple[int, int],
    room: tuple[int, int],
    down: float,
    across: float,
) -> tuple[augment.Window, tuple[int, int]]:
    """Narrows a window that would fill ``size`` to what fits ``room``, and tells what that fills.

    ``down`` and ``across`` in 0..1 say from where it is taken: 0 is the top and the left.
    """
    top, left, bottom, right = window
    starts, extents, sizes = [], [], []
    for start, length, full, most, share in (
        (top, bottom - top, size[0], room[0], down),
        (left, right - left, size[1], room[1], across),
    ):
        seen = length if full <= most else max(round(length * most / full), 1)
        starts.append(start + int(share * (length - seen) + 0.5))
        extents.append(seen)
        sizes.append(min(full, most))
    top, left = starts
    return (top, left, top + extents[0], left + extents[1]), (sizes[0], sizes[1])


def _extent(window: augment.Window) -> tuple[int, int]:
    return window[2] - window[0], window[3] - window[1]


def pair(shape: np.ndarray | tuple[int, ...]) -> tuple[int, int]:
    """(height, width) of the shape of an image."""
    return int(shape[0]), int(shape[1])
