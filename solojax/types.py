"""Every array that crosses a module border, with its shape, unit and frame, stated once.

Letters: ``B`` images, ``N`` instances (padded, with ``valid``), ``K`` detections, ``P`` positives,
``S`` grid cells per side, ``T`` cells of all levels together, ``H W`` pixels, ``C`` channels,
``L`` labels.
Frames: *network pixels* are those of the padded canvas the network sees, *original pixels* those
of the image file. A *label map* has the label of each pixel: of a thing, what the data set has
instances of, or of stuff, in that order. Boxes are ``x0 y0 x1 y1`` with ``x1 = x0 + width``. Arrays
are NumPy on the host and JAX on the device; the tuples are pytrees in both places, which is why
nothing here imports JAX.
"""

import unicodedata
from typing import Any, NamedTuple

Array = Any

MASK_STRIDE = 4
"""Network pixels per pixel of a detected mask, each way; at most, where that does not divide."""


IGNORED = 255
"""In a label map: a pixel that nobody labelled, or padding."""


RESTART = 75
"""Exit code of a training that was cut off; the same command goes on (EX_TEMPFAIL, sysexits.h)."""


class InputError(ValueError):
    """Something a user gave is wrong; the one-line message names what, where and the fix.

    Where that is a table, its lines follow one by one: names of a stranger's files end none.
    """

    def __init__(self, message: str, *table: str):
        super().__init__("\n".join(map(escaped, (str(message), *table))))


def escaped(text: str) -> str:
    """A text of somebody's in one line: control characters as Python writes them.

    They would move the cursor of a terminal, or end the line; half a surrogate cannot be written.
    """
    return "".join(
        repr(sign)[1:-1] if unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") else sign
        for sign in text
    )


class Terminated(Exception):
    """A scheduler asked the process to end; what it had to save is saved."""


class Instances(NamedTuple):
    """The ground truth of a batch, padded to ``N`` instances an image."""

    # By stride, in network pixels: B N H/stride W/stride uint8, 0 or 1. In a Batch the bits of the
    # width are packed (most significant first): eight times less to carry to the device. Stride 1
    # is the canvas itself, from which a head makes masks that are soft, or of another size.
    masks: dict[int, Array]
    boxes: Array  # B N 4 float32, network pixels
    centers: Array  # B N 2 float32, (x, y) centre of mass, network pixel indices
    labels: Array  # B N int32, 0-based class
    valid: Array  # B N bool, false on padding, on crowds and on instances without a pixel
    # B N bool: regions of many instances that nobody told apart, in slots that are not valid.
    crowd: Array | None = None
    # By stride: B H/stride W/stride uint8, the label of the pixel in the middle of each block, or
    # IGNORED. Those that the head asks for.
    label_maps: dict[int, Array] = {}


class Batch(NamedTuple):
    """What the input pipeline delivers."""

    images: Array  # B H W 3 uint8, RGB, zero outside of sizes
    sizes: Array  # B 2 int32, (height, width) of the resized image on its canvas, network pixels
    original_sizes: Array  # B 2 int32, (height, width) of the file, original pixels
    indices: Array  # B int32, record number in the data set
    valid: Array  # B bool, false on images that only fill up the last batch of an evaluation
    instances: Instances
    dropped: Array  # B int32, instances beyond N that were left out


class Mean(NamedTuple):
    """A sum and a count over local devices' images; ``training.step`` divides, once, globally.

    The value is ``total / max(count + prior, 1)`` with both summed over all devices first; with a
    count of 0 it is a sum.
    """

    total: Array  # float32 scalar
    count: Array  # float32 scalar, carries no gradient
    prior: float = 0.0


class Logged(Mean):
    """A term of a loss that is logged but not minimised."""


class Detections(NamedTuple):
    """What a head finds, best first, padded to ``K`` detections an image."""

    scores: Array  # B K float32, 0 on padding
    labels: Array  # B K int32, 0-based class
    masks: Array  # B K H/4 W/4 float32 in 0..1 or finer, which span the canvas
    valid: Array  # B K bool
    overflow: Array  # B int32, candidates above the score threshold that the cap left out
    boxes: Array | None = None  # B K 4 float32, network pixels; None: they are those of the masks
    cells: Array | None = None  # B K int32, the cell that each was found by, of a head with a grid


class Answer(NamedTuple):
    """What a network says of a batch."""

    detections: Detections  # of a head that finds no instances K is 0
    label_logits: Array | None  # B h w L float32, which span the canvas, of one that labels pixels


class Results(NamedTuple):
    """Detections in the frame of the original image, ready to leave the device."""

    scores: Array  # B K float32, 0 on padding
    labels: Array  # B K int32, 0-based class
    masks: Array  # B K H W/8 uint8, bits along the width (most significant first), original pixels
    valid: Array  # B K bool
    overflow: Array  # B int32, as in Detections
    boxes: Array | None = None  # B K 4 float32, original pixels; None: they are those of the masks
    label_maps: Array | None = None  # B H W uint8, IGNORED beyond the original


class TrainState(NamedTuple):
    """All that a training step changes, and all that a checkpoint holds. Data only, no code."""

    step: Array  # int32 scalar, updates done so far
    params: Any  # {"backbone", "neck", "head"}
    batch_stats: Any  # running statistics of batch norms; only synchronised ones change
    opt_state: Any
    # Averages of {"params", "batch_stats"}, or an empty tuple where none are kept.
    ema: Any
    finite: Array  # bool scalar; once false, nothing above changes any more
