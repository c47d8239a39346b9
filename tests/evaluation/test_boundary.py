"""Claims about the bands along outlines and about boundary AP."""

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from solojax.evaluation import scores
from solojax.evaluation.metrics import boundary
from tests.evaluation.rectangles import SIZE, result, scenes_of, truth_of

WIDTH = 3  # of a band on an image of 100 x 100, whose diagonal is 141.4


def boundary_iou(truth: dict, results: list[dict]) -> float:
    return boundary.overlap(truth, scenes_of(truth, results))[1].ious[0, 0]


def test_a_band_is_two_hundredths_of_the_diagonal_wide():
    assert boundary.width_in(SIZE) == WIDTH
    assert boundary.width_in((480, 640)) == 16
    assert boundary.width_in((8, 8)) == 1


def test_the_band_of_a_square_leaves_a_smaller_square():
    square = np.ones((20, 20), np.uint8)
    band = boundary.band(square, WIDTH)
    assert band.sum() == 20**2 - 14**2
    assert not band[3:17, 3:17].any() and band[:3].all() and band[:, -3:].all()


@pytest.mark.parametrize("side", [1, 4, 6])
def test_a_small_mask_is_all_band(side):
    assert boundary.band(np.ones((side, side), np.uint8), WIDTH).all()


def test_a_hole_has_an_outline():
    mask = np.ones((21, 21), np.uint8)
    mask[10, 10] = 0
    core = np.argwhere(mask & ~boundary.band(mask, WIDTH).astype(bool))
    assert len(core) == 15**2 - 7**2


def test_squares_a_pixel_apart_have_the_boundary_iou_counted_by_hand():
    truth = truth_of([(3, (10, 10, 20, 20))])
    # Common: 19 x 20 pixels, but for the 15 x 14 inside of either; all: 2 x 204 but for those.
    assert boundary_iou(truth, [result(3, (10, 11, 20, 20), 0.9)]) == 170 / 238


def test_the_edge_of_the_image_is_an_outline():
    truth = truth_of([(3, (0, 0, 20, 20))])
    assert boundary_iou(truth, [result(3, (0, 1, 20, 20), 0.9)]) == 170 / 238


def test_with_a_crowd_it_is_the_share_of_the_detection():
    truth = truth_of([], crowds=[(3, (10, 10, 20, 40))])
    # Of the band of 204 pixels the crowd's band lacks the left edge between rows 3 and 17.
    assert boundary_iou(truth, [result(3, (10, 20, 20, 20), 0.9)]) == (204 - 2 * 3 * 14) / 204


def test_of_masks_that_take_minutes_boundary_ap_is_left_out_and_told(monkeypatch):
    truth, found = truth_of([(3, (10, 10, 20, 20))]), [result(3, (10, 11, 20, 20), 0.9)]
    monkeypatch.setattr(boundary, "MOST_PIXELS", 400)
    assert "boundary" in scores.score(truth, found)
    monkeypatch.setattr(boundary, "MOST_PIXELS", 399)
    scored = scores.score(truth, found)
    assert "boundary" not in scored and scored["AP"] > 0
    assert "boundary AP is left out: a mask is larger than 399 pixels" in scores.table(scored)


def test_boundary_ap_is_lower_where_outlines_are_off_by_two_pixels():
    truth = truth_of([(3, (10, 10, 60, 60))])
    found = [result(3, (10, 12, 60, 60), 0.9)]
    assert boundary_iou(truth, found) == 456 / 912
    both = scores.score(truth, found)
    assert both["AP"] == pytest.approx(0.9), "58 / 62 is above .90 and below .95"
    assert both["boundary"]["AP50"] == pytest.approx(1)
    assert both["boundary"]["AP"] == pytest.approx(0.1)


def test_boxes_of_masks_are_those_that_pycocotools_would_load():
    truth = truth_of([(3, (10, 10, 60, 60))])
    found = [result(3, (10, 12, 60, 60), 0.9)]
    corner = np.zeros(SIZE, np.uint8, order="F")
    corner[10:70, 10] = corner[10, 10:70] = 1  # the same box as the truth, and a small mask
    found[0]["segmentation"] = coco_mask.encode(corner)
    both = scores.score(truth, found)
    assert both["AP50"] == 0 and both["box"]["AP"] == pytest.approx(1)
    assert both["box"]["APl"] == -1 and both["box"]["APm"] == pytest.approx(1)


def test_random_blobs_agree_with_bands_of_whole_images():
    rng = np.random.default_rng(0)
    compared = 0
    for _ in range(60):
        size = tuple(int(side) for side in rng.integers(20, 160, 2))
        blob = (cv2.GaussianBlur(rng.random(size), (0, 0), 6) > 0.5).astype(np.uint8)
        other = np.roll(blob, rng.integers(-2, 3, 2), (0, 1))
        rles = [coco_mask.encode(np.asfortranarray(one)) for one in (blob, other)]
        truth = {
            "images": [{"id": 1, "height": size[0], "width": size[1]}],
            "annotations": [
                {"id": 1, "image_id": 1, "category_id": 3, "segmentation": rles[0], "iscrowd": 0}
            ],
        }
        one = dict(image_id=1, category_id=3, score=0.5, segmentation=rles[1])
        ious = coco_mask.iou([rles[1]], [rles[0]], [0])
        if ious[0, 0] < boundary.LEAST_IOU:
            continue
        bands = []
        for mask in (blob, other):
            padded = np.pad(mask, 1)
            for _ in range(boundary.width_in(size)):
                padded = cv2.erode(padded, np.ones((3, 3), np.uint8))
            bands.append(coco_mask.encode(np.asfortranarray(mask - padded[1:-1, 1:-1])))
        expected = min(ious[0, 0], coco_mask.iou(bands[1:], bands[:1], [0])[0, 0])
        assert boundary_iou(truth, [one]) == expected
        compared += 1
    assert compared > 20
