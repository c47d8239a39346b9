"""What a network that left the package needs beside its programs, as JSON."""

from typing import Any

from solojax import __version__
from solojax.export import WEIGHTS
from solojax.heads import protocol
from solojax.inference import draw
from solojax.inference.trained import Trained
from solojax.types import InputError

INPUTS = {
    "images": "B H W 3 uint8 RGB, each at the top left of its canvas, zeros elsewhere",
    "sizes": "B 2 int32, (height, width) of the image on the canvas, pixels of the canvas",
    "originals": "B 2 int32, (height, width) of the image before it was resized",
}


def describe(
    trained: Trained, kind: str, batch: int | None, most: int, weights: str
) -> dict[str, Any]:
    """Class names, preprocessing and thresholds, the same for every target.

    Args:
      trained: the network.
      kind: the target.
      batch: images that go through the network together; None: any number.
      most: detections of an image.
      weights: of ``export.WEIGHTS``.
    """
    data, head = trained.config.data, trained.config.model.head
    if not protocol.finds_instances(head):
        raise InputError(
            f"{type(head).__name__} labels pixels, and what is exported finds instances; "
            "`solojax predict --save labels` and Predictor give its label maps"
        )
    by_instance = len(data.categories) == 1
    return {
        "format": f"solojax {kind}",
        "version": 1,
        "solojax": __version__,
        "step": trained.step,
        "categories": [{"id": one.id, "name": one.name} for one in data.categories],
        "labels": "places in categories",
        "least_scores": trained.least_scores.of(data.categories).tolist(),
        "least_scores_chosen_by": trained.least_scores.origin or "nothing",
        "mask_threshold": head.mask_threshold,
        "weights": WEIGHTS[weights],
        "batch": batch,
        "resize": data.resize,
        "short_side": data.test_short_side,
        "long_side": data.long_side,
        "canvases": [list(canvas) for canvas in data.canvases],
        "interpolation": "OpenCV's INTER_LINEAR of uint8: bilinear, not antialiased",
        "normalisation": "inside of the programs",
        "inputs": INPUTS,
        "by_instance": by_instance,
        "colors": [draw.color_of(i) for i in range(most if by_instance else len(data.categories))],
    }
