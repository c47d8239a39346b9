"""Claims about merging instances and stuff."""

import jax
import numpy as np

from solojax.ops import panoptic

RULE = dict(least_score=0.5, least_visible=0.5, least_stuff=3)


def merge(masks: list[str], scores: list[float], labels: str, things: int = 2):
    """Masks and labels as rows of one line; 9 is ignored."""
    bits = np.array([[[int(x) for x in mask]] for mask in masks], np.uint8)
    line = np.array([[255 if x == "9" else int(x) for x in labels]], np.uint8)
    return jax.jit(panoptic.merge)(np.packbits(bits, -1), np.float32(scores), line, things, **RULE)


def line(ids) -> list[int]:
    return np.asarray(ids)[0].tolist()


def test_the_surest_lies_on_top_and_stuff_fills_what_is_left():
    merged = merge(["11100000", "00111100"], [0.9, 0.8], "22222333")
    assert line(merged.ids) == [1, 1, 1, 2, 2, 2, 0, 0]  # of stuff 3 two pixels are left
    assert merged.instances.tolist() == [True, True]
    assert not merged.stuff.any()


def test_what_is_mostly_hidden_unsure_or_empty_is_left_out():
    masks = ["11110000", "00111000", "00000011", "00000000"]
    merged = merge(masks, [0.9, 0.8, 0.4, 0.7], "99992222")
    assert merged.instances.tolist() == [True, False, False, False]
    assert line(merged.ids) == [1, 1, 1, 1, 7, 7, 7, 7]  # 4 detections, + 1, + label 2


def test_half_hidden_is_kept_and_labels_of_things_are_void():
    merged = merge(["11110000", "00111100"], [0.9, 0.8], "00000111")
    assert line(merged.ids) == [1, 1, 1, 1, 2, 2, 0, 0]
    assert np.flatnonzero(merged.stuff).tolist() == []
