"""Claims about whole scenes: label maps, probabilities and segments of original pixels."""

import dataclasses

import cv2
import jax
import numpy as np
import pytest

from solojax.config import Category
from solojax.data import rle
from solojax.inference.predictor import Predictor
from solojax.types import Detections, InputError
from tests.inference.networks import Bright, Colors, Grounds, Scenes
from tests.inference.test_predictor import DATA, noise

STUFF = (Category(100, "sky"), Category(101, "sea"))
SIZE = 300, 420


class Red(Bright):
    """Finds what ``Grounds`` calls the third label."""

    mask_threshold = 0.0

    def detect(self, outputs: tuple[jax.Array, jax.Array]) -> Detections:
        return super().detect(outputs)._replace(masks=outputs[0][:, :1])


def make(network: Colors | Grounds) -> Predictor:
    data = dataclasses.replace(DATA, stuff=STUFF)
    return Predictor(network, {"least": np.float32(0)}, data)


@pytest.fixture(scope="module")
def grounds() -> Predictor:
    return make(Grounds())


@pytest.fixture(scope="module")
def scenes() -> Predictor:
    return make(Scenes())


def test_a_label_map_is_resized_as_masks_are(grounds: Predictor) -> None:
    image = noise(*SIZE)
    result = grounds(image)
    bright = make(Red())(image).masks[0]
    np.testing.assert_array_equal(result.label_map == 3, bright)
    np.testing.assert_array_equal(result.label_map == 4, ~bright)
    assert len(result) == 0 and result.segment_ids is None
    assert result.plot().shape[2] == 3


def test_probabilities_are_those_that_the_label_map_is_the_greatest_of(grounds: Predictor) -> None:
    image = noise(700, 90)  # of more blocks than one
    shares = grounds.probabilities(image)
    assert shares.shape == (700, 90, 5) and shares.dtype == np.float32
    np.testing.assert_allclose(shares.sum(-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(shares.argmax(-1), grounds(image).label_map)
    with pytest.raises(InputError, match="this network labels no pixels"):
        make(Bright()).probabilities(image)


def test_tiles_say_together_what_a_pixel_is(grounds: Predictor) -> None:
    image = np.zeros((*SIZE, 3), np.uint8)
    image[:, 200:] = 255
    image[40:52, 40:52] = 255  # which a look at all of it does not see
    whole, tiled = (
        np.where(one.label_map == 3, 255, 0) for one in (grounds(image), grounds.tiled(image, 100))
    )
    assert (whole[40:52, 40:52] == 0).all() and (tiled[44:48, 44:48] == 255).all()
    assert (tiled != image[..., 0]).mean() < 0.01


def test_a_look_has_the_label_map_as_it_is_shown(scenes: Predictor) -> None:
    image = noise(*SIZE)
    np.testing.assert_array_equal(scenes.look(image).label_map, scenes(image).label_map)
    long = scenes.look(cv2.resize(image, (2560, 300))).label_map
    assert long.shape == (150, 1280) and (long == 3).any()
    assert make(Colors()).look(image).label_map is None


def test_segments_are_instances_and_the_stuff_between_them(scenes: Predictor) -> None:
    image = noise(*SIZE)
    result = scenes(image)
    ids, segments = result.segment_ids, result.segments
    assert {one.id for one in segments} == set(np.unique(ids)) - {0}
    sure = np.flatnonzero(result.scores >= 0.5)
    things = [one for one in segments if one.label < 3]
    first = rle.decode([result.rles[sure[0]]], *SIZE)[0] > 0
    np.testing.assert_array_equal(ids == things[0].id, first)
    free = ~np.isin(ids, [one.id for one in things])
    for one in segments:
        if one.label >= 3:
            np.testing.assert_array_equal(ids == one.id, free & (result.label_map == one.label))
            assert (ids == one.id).sum() >= 4096


def test_scenes_are_drawn_with_the_names_of_their_stuff(grounds: Predictor) -> None:
    image = cv2.resize(np.uint8([[0, 255]]), (400, 300), interpolation=cv2.INTER_NEAREST)
    drawn = grounds(np.repeat(image[..., None], 3, -1)).plot()
    halves = drawn[400:560, 60:340], drawn[400:560, -340:-60]  # without names and outlines
    assert np.ptp(halves[0].reshape(-1, 3), axis=0).max() == 0
    assert (halves[0][0, 0] != halves[1][0, 0]).any()
