"""A claim about the ids of segments."""

import numpy as np

from solojax.data import panoptic_ids


def test_ids_are_the_digits_of_their_colours():
    ids = np.array([[0, 255, 256], [65_536, 3 + 2 * 256 + 65_536, panoptic_ids.MOST]])
    colours = panoptic_ids.to_rgb(ids)
    assert colours[1, 1].tolist() == [3, 2, 1]
    np.testing.assert_array_equal(panoptic_ids.of_rgb(colours), ids)
