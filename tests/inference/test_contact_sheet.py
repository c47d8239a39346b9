"""Claims about the sheet of training examples."""

import numpy as np
import pytest

from solojax.data import transforms
from solojax.heads.grid import Grid
from solojax.inference import contact_sheet, draw
from solojax.types import Batch
from tests import examples

GRID = Grid(levels=("p2", "p3"), strides=(8, 8), sizes=(8, 4), scale_ranges=((1, 24), (16, 48)))
CANVAS = (64, 64)


def example(boxes: list[tuple[int, int, int, int]], dropped: int = 0) -> Batch:
    """White boxes, x0 y0 x1 y1, on a canvas of 64 x 64 whose last 16 columns are padding."""
    image = np.zeros((*CANVAS, 3), np.uint8)
    masks = np.zeros((len(boxes), *CANVAS), np.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = 1
        image[y0:y1, x0:x1] = 255
    placement = transforms.Placement(CANVAS, CANVAS)
    shapes = examples.place_shapes(masks, np.array(boxes), np.zeros(len(boxes), int), placement)
    instances, _ = transforms.make_instances(shapes, CANVAS, 4, (4,))
    return Batch(
        images=image,
        sizes=np.array([64, 48], np.int32),
        original_sizes=np.array([64, 48], np.int32),
        indices=np.int32(0),
        valid=np.bool_(True),
        instances=instances,
        dropped=np.int32(dropped),
    )


def colored(picture: np.ndarray, number: int) -> np.ndarray:
    """Where a picture has the very colour of an instance."""
    return (picture == np.array(draw.color_of(number))).all(-1)


def test_owners_are_the_cells_around_the_centre() -> None:
    (fine, coarse), lost = contact_sheet._owners(example([(8, 8, 20, 20)]), GRID)
    assert np.argwhere(fine == 0).tolist() == [[1, 1]]
    assert (coarse == -1).all()
    assert not lost.any()


def test_an_instance_that_loses_its_cell_to_a_later_one_is_marked() -> None:
    pair = example([(8, 8, 20, 20), (9, 9, 21, 21)])
    (fine, _), lost = contact_sheet._owners(pair, GRID)
    assert np.unique(fine).tolist() == [-1, 1]
    assert lost.tolist() == [True, False, False, False]
    red = (contact_sheet.contact_sheet([pair], [7], GRID, ["box"]) == contact_sheet.LOST).all(-1)
    assert red.sum() > 20


def test_an_instance_of_a_size_on_no_level_is_marked() -> None:
    _, lost = contact_sheet._owners(example([(0, 0, 63, 63)]), GRID)
    assert lost.tolist() == [True, False, False, False]


def test_cells_are_drawn_where_they_lie_on_the_canvas() -> None:
    one = example([(8, 8, 20, 20)])
    owners, _ = contact_sheet._owners(one, GRID)
    maps = contact_sheet._maps(one.images, owners, GRID, 512)
    y, x = np.nonzero(colored(maps, 0))
    side = (512 - contact_sheet.STRIP) // 2
    caption = maps.shape[0] - side
    assert abs(x.mean() - side * 1.5 / 8) < 2
    assert abs(y.mean() - caption - side * 1.5 / 8) < 2
    assert len(x) == pytest.approx((side / 8) ** 2, rel=0.1)


def test_padding_is_told_from_a_black_image() -> None:
    sheet = contact_sheet.contact_sheet([example([])], [7], GRID, ["box"])
    outside = (sheet == contact_sheet.OUTSIDE).all(-1)
    picture = outside[outside.sum(1) > 64]  # a caption has grey pixels too
    assert outside.sum() == pytest.approx(512 * 512 / 4, rel=0.05)
    assert not picture[:, :380].any()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_sheet_has_a_place_for_every_example(count: int) -> None:
    one = contact_sheet.contact_sheet([example([(8, 8, 20, 20)])], [1], GRID, ["box"])
    shown = [example([(8, 8, 20, 20)], dropped=3)] * count
    sheet = contact_sheet.contact_sheet(shown, list(range(count)), GRID, ["box"])
    rows, columns = -(-count // 2), min(count, 2)
    assert sheet.shape == (rows * one.shape[0], columns * one.shape[1], 3)
    assert sheet.dtype == np.uint8


def test_stuff_is_drawn_beneath_the_instances_with_what_its_colors_mean() -> None:
    one = example([(8, 8, 20, 20)])
    labels = np.full((16, 16), 1, np.uint8)
    labels[2:5, 2:5], labels[:, 12:] = 0, 255
    one = one._replace(instances=one.instances._replace(label_maps={4: labels}))
    sheet = contact_sheet.contact_sheet([one], [7], None, ["box"], ["sky"])
    assert colored(sheet, 1).sum() > 100  # the square of the legend
    seen = sheet[28:540, :512].astype(int)
    tint = np.array(draw.color_of(1)) * draw.OPACITY
    assert np.abs(seen[500, 100] - tint).max() <= 1
    assert (seen[500, 500] == contact_sheet.OUTSIDE).all()
    bare = one._replace(instances=one.instances._replace(masks={}))
    alone = contact_sheet.contact_sheet([bare], [7], None, ["box"], ["sky"])
    assert colored(alone, 0).sum() > 100


def test_superpixels_are_outlined_on_the_image_and_not_beside_it() -> None:
    pytest.importorskip("skimage")
    sheet = contact_sheet.contact_sheet(
        [example([(8, 8, 20, 20)])], [7], None, ["box"], with_superpixels=True
    )
    seen = (sheet == contact_sheet.EDGE).all(-1)[28:]
    assert seen[:, :384].sum() > 2000 and not seen[:, 384:].any()
