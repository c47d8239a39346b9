"""The feature pyramid of YOLACT, for canvases of any size."""

import flax.linen as nn
import jax

from solojax.fields import check_count, check_fields, check_range
from solojax.models.detector import Names
from solojax.models.fpn import lateral, output
from solojax.models.layers import XAVIER_INIT, Conv
from solojax.ops import resize


class BilinearFPN(nn.Module):
    """``{"c3".."c5"}`` -> ``{"p3".."p7"}``, all ``width`` channels, strides 8 to 128.

    Lateral 1x1 and output 3x3 convolutions with bias, without norm; what comes from above is
    resized to the very size of the level below, which need not be twice it; ReLU behind each
    output (Bolya et al., YOLACT, ICCV 2019). Each coarser level is a 3x3 convolution of stride 2
    of the one before, without ReLU.
    """

    width: int = 256
    finest_level: int = 3  # 2: of c2 as well
    coarser_levels: int = 2  # beyond p5

    def __post_init__(self) -> None:
        check_fields(self, "neck")
        check_count(self, "neck", "width")
        check_range(self, "neck", "finest_level", least=2, most=5)
        check_range(self, "neck", "coarser_levels", most=10)
        super().__post_init__()

    @property
    def _levels(self) -> range:
        """Those that the backbone has, from the coarsest down."""
        return range(5, self.finest_level - 1, -1)

    @property
    def state_dict_names(self) -> Names:
        """Names in the authors' files and places here; they count levels from p5 on down."""
        names = []
        for number, level in enumerate(self._levels):
            names.append((rf"fpn\.lat_layers\.{number}", f"neck/lateral_c{level}"))
            names.append((rf"fpn\.pred_layers\.{number}", f"neck/output_p{level}"))
        for number in range(self.coarser_levels):
            names.append((rf"fpn\.downsample_layers\.{number}", f"neck/coarser_p{6 + number}"))
        # Early files hold one more, which is in no network.
        names.append((rf"fpn\.downsample_layers\.{self.coarser_levels}", ""))
        return tuple(names)

    @nn.compact
    def __call__(self, features: dict[str, jax.Array]) -> dict[str, jax.Array]:
        pyramid: dict[str, jax.Array] = {}
        above = None
        for level in self._levels:
            x = lateral(self.width, level)(features[f"c{level}"])
            if above is not None:
                x = x + resize.bilinear(above, (x.shape[1], x.shape[2]))
            pyramid[f"p{level}"] = nn.relu(output(self.width, level)(x))
            above = x
        pyramid = {level: pyramid[level] for level in sorted(pyramid)}
        for level in range(6, 6 + self.coarser_levels):
            halve = Conv(
                self.width,
                (3, 3),
                strides=2,
                padding=1,
                kernel_init=XAVIER_INIT,
                name=f"coarser_p{level}",
            )
            pyramid[f"p{level}"] = halve(pyramid[f"p{level - 1}"])
        return pyramid
