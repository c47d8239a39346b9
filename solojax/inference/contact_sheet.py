"""Training examples on one picture: is the data what the network should see?"""

from collections.abc import Sequence

import cv2
import jax
import numpy as np
from tqdm import tqdm

from solojax import config as config_lib
from solojax.data import examples
from solojax.data.records import coco
from solojax.heads import assign
from solojax.heads.grid import Grid, grid_of
from solojax.inference import draw, superpixels
from solojax.models import detector
from solojax.types import IGNORED, Batch

COLUMNS = 2
SHORT_SIDE = 512  # of an example on the picture: smaller ones are enlarged by drawing anyway
STRIP = 8  # pixels between the maps of the levels
OUTSIDE = (96, 96, 96)  # RGB of the canvas beside the image
EDGE = (255, 230, 60)  # RGB of the outlines of superpixels
LOST = (255, 40, 40)  # RGB of the cross on an instance that owns no cell of its own


def of_training(
    config: config_lib.Config,
    split: coco.Split,
    *,
    step: int,
    count: int,
    with_superpixels: bool = False,
) -> np.ndarray:
    """Draws the first ``count`` examples of a training from a step on, with a progress bar.

    Returns:
      As ``contact_sheet``.

    Raises:
      InputError: ``coco.prepare`` refuses the data set, or superpixels need a package.
    """
    if with_superpixels:
        superpixels.check()
    grid = grid_of(config.model.head)
    records = coco.prepare(config.data, split)
    strides = config.model.head.mask_strides, detector.label_strides(config.model)
    masks, maps = ((min(one),) if one else () for one in strides)
    batch_size = config.training.batch_size
    load = examples.train_examples(
        records,
        config.data,
        mask_strides=masks,
        label_strides=maps,
        batch_size=batch_size,
        seed=config.training.seed,
    )
    first = step * batch_size
    numbers = tqdm(range(first, first + count), "drawing", unit="image")
    shown = [load(*divmod(number, batch_size)) for number in numbers]
    return contact_sheet(
        shown,
        [records.image_ids[one.indices] for one in shown],
        grid,
        [category.name for category in records.categories],
        [category.name for category in records.stuff],
        with_superpixels,
    )


def contact_sheet(
    batches: Sequence[Batch],
    ids: Sequence[int],
    grid: Grid | None,
    names: Sequence[str],
    stuff: Sequence[str] = (),
    with_superpixels: bool = False,
) -> np.ndarray:
    """Draws examples with masks, names and, where there is a grid, the cells each instance owns.

    Label maps are drawn beneath, of stuff alone where there are masks, and below them what their
    colours mean. With a grid, below each example stands a map for every level: its S x S cells,
    those that instances own in their colours. A red cross marks an instance that owns its centre's
    cell on no level: nothing teaches its class.

    Args:
      batches: one example each, without the leading axis, with packed masks or a label map at one
        stride.
      ids: of their images.
      grid: whose cells to draw, if any.
      names: of the classes.
      stuff: names of the labels behind them.
      with_superpixels: whether to draw their outlines on the images.

    Returns:
      ``H W 3`` uint8 RGB.
    """
    tiles = [
        _tile(one, image_id, grid, names, stuff, with_superpixels)
        for one, image_id in zip(batches, ids, strict=True)
    ]
    height, width = np.max([tile.shape[:2] for tile in tiles], axis=0) + draw.MARGIN
    rows = -(-len(tiles) // COLUMNS)
    sheet = np.full((rows * height, min(COLUMNS, len(tiles)) * width, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, COLUMNS)
        top, left = row * height, column * width
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet


def _tile(
    example: Batch,
    image_id: int,
    grid: Grid | None,
    names: Sequence[str],
    stuff: Sequence[str],
    with_superpixels: bool,
) -> np.ndarray:
    canvas = example.images.shape[:2]
    scale = SHORT_SIDE / min(canvas)
    size = round(canvas[1] * scale), round(canvas[0] * scale)
    image = example.images.copy()
    image[example.sizes[0] :] = OUTSIDE
    image[:, example.sizes[1] :] = OUTSIDE
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    meaning = []
    for labels in example.instances.label_maps.values():
        if example.instances.masks:
            labels = np.where(labels < len(names), IGNORED, labels).astype(np.uint8)
        whole = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
        image = draw.draw_labels(image, whole)
        seen = np.setdiff1d(labels, [IGNORED]).tolist()
        meaning = [([*names, *stuff][label], label) for label in seen]
    if with_superpixels:
        height, width = example.sizes.tolist()
        numbers = np.zeros(canvas, np.uint16)
        found = superpixels.segment(example.images[:height, :width])
        numbers[:height, :width] = superpixels.enlarge(found, (height, width))
        image[superpixels.outlines(superpixels.enlarge(numbers, size[::-1]))] = EDGE
    used = np.flatnonzero(example.instances.valid) if example.instances.masks else np.arange(0)
    masks = []
    for stride, bits in example.instances.masks.items():
        targets = np.unpackbits(bits[used], axis=-1, count=canvas[1] // stride)
        masks = [cv2.resize(target, size, interpolation=cv2.INTER_NEAREST) for target in targets]
    # The later instance wins a cell, and so it lies on top here.
    order = used[::-1].tolist()
    labels = [names[example.instances.labels[i]] for i in order]
    corner = np.zeros(2, np.int64)
    picture = draw.draw_masks(image, ((mask, corner) for mask in masks), labels, order)
    caption = f"image {image_id}" + (f": {len(used)} instances" if example.instances.masks else "")
    if meaning:
        picture = np.concatenate([picture, draw.legend(meaning, picture.shape[1])])
    beyond = f", {example.dropped} beyond the limit" if example.dropped else ""
    if grid is None:
        return draw.side_by_side([(caption + beyond, picture)])
    owners, lost = _owners(example, grid)
    for i in used[lost[used]]:
        x, y = np.rint((example.instances.centers[i] + 0.5) * scale).astype(int).tolist()
        cv2.drawMarker(picture, (x, y), LOST, cv2.MARKER_TILTED_CROSS, 18, 3)
    maps = _maps(image, owners, grid, picture.shape[1])
    caption += f", {lost.sum()} without a cell" if lost.any() else ""
    return np.concatenate([draw.side_by_side([(caption + beyond, picture)]), maps])


# One program for all examples of a canvas, where each operation alone would compile its own.
_assign_cells = jax.jit(
    assign.assign_cells,
    static_argnames=("canvas", "grid", "num_classes", "max_positives", "per_level", "collisions"),
)


def _owners(example: Batch, grid: Grid) -> tuple[list[np.ndarray], np.ndarray]:
    """By level ``S S``, the instance that owns each cell or -1; ``N``, who owns none of its own."""
    instances = jax.tree.map(lambda array: array[None], example.instances._replace(masks={}))
    cells = _assign_cells(
        instances,
        example.images.shape[:2],
        jax.random.key(0),
        grid,
        num_classes=0,
        max_positives=1,
        per_level=False,
        collisions="both",
    )
    owners, assigned, lost = (np.asarray(x[0]) for x in (cells.owners, cells.assigned, cells.lost))
    parts = np.split(owners, grid.starts[1:-1])
    squares = [part.reshape(side, side) for part, side in zip(parts, grid.sizes, strict=True)]
    return squares, np.asarray(example.instances.valid) & ~(assigned & ~lost).any(0)


def _maps(image: np.ndarray, owners: Sequence[np.ndarray], grid: Grid, total: int) -> np.ndarray:
    """The cells of each level over the faded image, side by side, ``total`` pixels wide."""
    width = (total - STRIP * (len(owners) - 1)) // len(owners)
    size = width, round(width * image.shape[0] / image.shape[1])
    faded = cv2.resize(image, size, interpolation=cv2.INTER_AREA) // 3
    panels = []
    for level, side, cells in zip(grid.levels, grid.sizes, owners, strict=True):
        colors = np.array([draw.color_of(i) for i in range(cells.max() + 1)] + [(0, 0, 0)])
        painted = cv2.resize(
            colors[cells].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT
        )
        panel = np.where(painted.any(-1, keepdims=True), painted, faded)
        owned = len(np.unique(cells[cells >= 0]))
        panels.append((f"{level} {side}x{side}: {owned}", panel))
    strip = draw.side_by_side(panels)
    return cv2.copyMakeBorder(
        strip, 0, 0, 0, total - strip.shape[1], cv2.BORDER_CONSTANT, value=(255, 255, 255)
    )
