import cv2
import numpy as np
import pytest

from solojax.inference import draw


def whole(*masks: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Masks as large as their image, the last first."""
    return [(mask, np.zeros(2, np.int64)) for mask in masks[::-1]]


def test_a_mask_colours_its_own_pixels_alone():
    image = np.full((600, 600, 3), 100, np.uint8)
    mask = np.zeros((600, 600), bool)
    mask[100:200, 100:300] = True
    drawn = draw.draw_masks(image, whole(mask), [""], [0])
    changed = (drawn != image).any(-1)
    assert changed[110:190, 110:290].all()
    assert not changed[:90].any() and not changed[:, 310:].any()


def test_a_small_image_is_enlarged_by_a_whole_factor():
    drawn = draw.draw_masks(np.zeros((100, 150, 3), np.uint8), whole(), [], [])
    assert drawn.shape == (600, 900, 3)


def test_a_strip_is_not_enlarged_beyond_measure():
    drawn = draw.draw_masks(np.zeros((1, 2000, 3), np.uint8), whole(), [], [])
    assert drawn.shape == (2, 4000, 3)


def test_a_patch_is_drawn_where_it_lies_and_enlarged_with_its_image():
    image = np.full((150, 300, 3), 100, np.uint8)
    patch = [(np.ones((20, 60), np.uint8), np.array([40, 100]))]
    changed = (draw.draw_masks(image, patch, [""], [0]) != 100).any(-1)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    ends = [rows[0], rows[-1], columns[0], columns[-1]]
    np.testing.assert_allclose(ends, [160, 240, 400, 640], atol=3)  # and the outline


def test_the_first_mask_lies_on_top():
    image = np.zeros((600, 600, 3), np.uint8)
    mask = np.ones((600, 600), bool)
    drawn = draw.draw_masks(image, whole(mask, mask), ["", ""], [0, 1])
    alone = draw.draw_masks(image, whole(mask), [""], [0])
    nearest = draw.color_of(0)
    difference = np.abs(drawn[200, 200].astype(int) - alone[200, 200]).sum()
    other = np.abs(np.array(draw.color_of(1)) - nearest).sum()
    assert difference < other


def letters_on(width: int) -> int:
    """Bright pixels that a label on a mask at the right border brings."""
    image = np.zeros((600, 600, 3), np.uint8)
    mask = np.zeros((600, 600), bool)
    mask[-30:, -width:] = True
    plain, labelled = (
        draw.draw_masks(image, whole(mask), [name], [0]) for name in ("", "circle 0.99")
    )
    return int(((labelled > 150).all(-1) & (plain != labelled).any(-1)).sum())


def test_a_label_stays_inside_the_picture():
    found = letters_on(width=100)
    assert found > 50
    assert found == pytest.approx(letters_on(width=200), rel=0.1)


def test_a_label_without_room_is_left_out():
    assert letters_on(width=20) == 0


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
