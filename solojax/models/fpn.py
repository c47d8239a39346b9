"""Feature pyramid network, and a neck of one level."""

from typing import ClassVar

import flax.linen as nn
import jax

from solojax.fields import check_count, check_fields
from solojax.models.detector import Names
from solojax.models.layers import XAVIER_INIT, Conv
from solojax.ops import resize

STATE_DICT_NAMES: Names = (
    # Of mmdetection's files and the authors', which count from c2.
    *(
        (rf"neck\.{theirs}\.{number}(?:\.conv)?", f"neck/{ours}{number + 2}")
        for theirs, ours in (("lateral_convs", "lateral_c"), ("fpn_convs", "output_p"))
        for number in range(4)
    ),
    # Of detectron2's, then PaddleDetection's.
    (r"backbone\.fpn_lateral([2-5])", "neck/lateral_c{0}"),
    (r"backbone\.fpn_output([2-5])", "neck/output_p{0}"),
    (r"neck\.fpn_inner_res([2-5])_sum(?:_lateral)?", "neck/lateral_c{0}"),
    (r"neck\.fpn_res([2-5])_sum", "neck/output_p{0}"),
)


class FPN(nn.Module):
    """``{"c2".."c5"}`` -> ``{"p2".."p6"}``, all ``width`` channels, strides 4 to 64.

    Lateral 1x1 and output 3x3 convolutions with bias, without norm; nearest enlargement; p6 is
    every second pixel of p5.
    """

    width: int = 256

    canvas_multiple: ClassVar[int] = 32

    def __post_init__(self) -> None:
        check_fields(self, "neck")
        check_count(self, "neck", "width")
        super().__post_init__()

    @property
    def state_dict_names(self) -> Names:
        """Of the published files."""
        return STATE_DICT_NAMES

    @nn.compact
    def __call__(self, features: dict[str, jax.Array]) -> dict[str, jax.Array]:
        pyramid: dict[str, jax.Array] = {}
        above = None
        for level in (5, 4, 3, 2):
            above = _merge(self.width, level, features, above)
            pyramid[f"p{level}"] = output(self.width, level)(above)
        pyramid["p6"] = pyramid["p5"][:, ::2, ::2]
        return pyramid


class SingleLevel(nn.Module):
    """``{"c3".."c5"}`` -> ``{"p3"}``, ``width`` channels at stride 8.

    For the single-level variant of SOLO (Wang et al., 2020): the laterals of an FPN, all enlarged
    to the size of c3 and summed, and one output convolution.
    """

    width: int = 256

    canvas_multiple: ClassVar[int] = 32

    def __post_init__(self) -> None:
        check_fields(self, "neck")
        check_count(self, "neck", "width")
        super().__post_init__()

    @property
    def state_dict_names(self) -> Names:
        """Those of an FPN."""
        return STATE_DICT_NAMES

    @nn.compact
    def __call__(self, features: dict[str, jax.Array]) -> dict[str, jax.Array]:
        above = None
        for level in (5, 4, 3):
            above = _merge(self.width, level, features, above)
        return {"p3": output(self.width, 3)(above)}


def _merge(
    width: int, level: int, features: dict[str, jax.Array], above: jax.Array | None
) -> jax.Array:
    """This level's lateral and, doubled in size, what has been summed above it."""
    x = lateral(width, level)(features[f"c{level}"])
    return x if above is None else x + resize.repeat(above)


def lateral(width: int, level: int) -> nn.Conv:
    """The 1x1 convolution of a level's features; to be called in a compact method."""
    return Conv(width, (1, 1), kernel_init=XAVIER_INIT, name=f"lateral_c{level}")


def output(width: int, level: int) -> nn.Conv:
    """The 3x3 convolution that gives a level of the pyramid; to be called in a compact method."""
    return Conv(width, (3, 3), padding=1, kernel_init=XAVIER_INIT, name=f"output_p{level}")
