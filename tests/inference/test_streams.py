"""Claims about what tells the images of a prediction apart."""

import pytest

from solojax.inference import streams
from solojax.inference.sources import Inputs
from tests.inference.save.scene import named


@pytest.mark.parametrize(
    ("inputs", "wanted"),
    [
        (named("000000000139.jpg", "x/285.jpg"), [139, 285]),
        (named("1.jpg", "01.png"), [1, 2]),
        (named("7.jpg", "cat.jpg"), [1, 2]),
        (named("7.jpg", videos=("a.mp4",)), [1]),
        (named("9" * 20 + ".jpg"), [1]),
        (named("²٣.jpg"), [1]),
    ],
)
def test_ids_are_the_numbers_in_the_names_where_those_are_told_apart(
    inputs: Inputs, wanted: list[int]
) -> None:
    assert streams.image_ids(inputs) == wanted
