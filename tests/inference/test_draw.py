import cv2
import numpy as np
import pytest

from solojax.inference import draw


def test_a_mask_colours_its_own_pixels_alone():
    image = np.full((400, 400, 3), 100, np.uint8)
    mask = np.zeros((400, 400), bool)
    mask[100:200, 100:300] = True
    drawn = draw.draw_masks(image, [mask], [""], [0])
    changed = (drawn != image).any(-1)
    assert changed[110:190, 110:290].all()
    assert not changed[:90].any() and not changed[:, 310:].any()


def test_a_small_image_is_enlarged_by_a_whole_factor():
    drawn = draw.draw_masks(np.zeros((100, 150, 3), np.uint8), [], [], [])
    assert drawn.shape == (400, 600, 3)


def test_the_first_mask_lies_on_top():
    image = np.zeros((400, 400, 3), np.uint8)
    mask = np.ones((400, 400), bool)
    drawn = draw.draw_masks(image, [mask, mask], ["", ""], [0, 1])
    alone = draw.draw_masks(image, [mask], [""], [0])
    nearest = draw.color_of(0)
    difference = np.abs(drawn[200, 200].astype(int) - alone[200, 200]).sum()
    other = np.abs(np.array(draw.color_of(1)) - nearest).sum()
    assert difference < other


def test_a_label_stays_inside_the_picture():
    image = np.zeros((400, 400, 3), np.uint8)
    corner = np.zeros((400, 400), bool)
    corner[-3:, -3:] = True
    drawn = draw.draw_masks(image, [corner], ["a rather long name 0.99"], [0])
    assert (drawn > 150).all(-1).sum() > 50  # its letters


def test_panels_are_set_side_by_side_and_saved(tmp_path):
    panel = np.full((50, 60, 3), (255, 0, 0), np.uint8)
    picture = draw.side_by_side([("a", panel), ("b", panel)])
    assert picture.shape[1] == 2 * 60 + draw.MARGIN
    path = tmp_path / "picture.png"
    draw.save_png(str(path), picture)
    assert (cv2.imread(str(path))[-1, 0] == (0, 0, 255)).all()  # blue, green, red


def test_a_picture_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(OSError, match="missing"):
        draw.save_png(str(tmp_path / "missing" / "picture.png"), np.zeros((4, 4, 3), np.uint8))
