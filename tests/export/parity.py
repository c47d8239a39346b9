"""What an exported network is compared with."""

import runpy
import sys
import types

import cv2
import numpy as np

from solojax import config as config_lib
from solojax.config import Category
from solojax.export import stablehlo
from solojax.inference.predictor import Predictor
from solojax.inference.thresholds import Thresholds
from solojax.inference.trained import Trained

CATEGORIES = (Category(3, "cell"), Category(70, "dust"), Category(71, "hair"))
DATA = config_lib.Data(
    categories=CATEGORIES,
    canvases=((64, 96), (96, 64)),
    train_short_sides=(64,),
    test_short_side=64,
    long_side=90,
)


def noise(height: int, width: int) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 255, (5, 7, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def trained(model, variables, data=DATA):
    """A network as it is read from a run; of stand-ins no config is asked for more."""
    config = types.SimpleNamespace(model=model, data=data)
    return Trained(config, 7, variables, Thresholds(0.3, {70: 0.5}, "somebody"))


def live(network: Trained, batch_size: int = 1) -> Predictor:
    model, data = network.config.model, network.config.data
    return Predictor(model, network.variables, data, batch_size=batch_size)


def run_stablehlo(folder, monkeypatch, network, *images, batch=None, weights="float32"):
    """Writes the file of a network and runs its runner; gives what the runner defines."""
    path = folder / "network.zip"
    _, runner = stablehlo.write(network, path, batch, weights)
    monkeypatch.setattr(sys, "argv", [str(runner), str(path), *map(str, images)])
    return runpy.run_path(str(runner))


def assert_equal(found, result):
    """All that the runner finds is a result's, to the bit."""
    scores, labels, masks, *boxes = found
    np.testing.assert_array_equal(scores, result.scores)
    np.testing.assert_array_equal(labels, result.labels)
    bits = np.unpackbits(masks, axis=-1, count=result.size[1])
    np.testing.assert_array_equal(bits.astype(bool), result.masks)
    if boxes or result.given_boxes is not None:
        np.testing.assert_array_equal(boxes[0], result.boxes)
