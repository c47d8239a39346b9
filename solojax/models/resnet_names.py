"""What the layers of a ResNet are called in published files."""

import re

from solojax.models.detector import Names


def _d2(name: str) -> str:
    """detectron2's name of a part of the backbone, which a pyramid there calls ``bottom_up``."""
    return rf"backbone\.(?:bottom_up\.)?{name}"


def _paddle_layer(match: re.Match[str]) -> str:
    """PaddleDetection letters its blocks, those of a long stage a, b1, b2, and their layers."""
    stage, letter, number, layer, kind = match.groups()
    block = int(number) if number else ord(letter) - ord("a")
    kind = "bn" if kind == "norm" else "conv"
    which = f"{kind}{'abc'.index(layer) + 1}" if layer else f"downsample_{kind}"
    return f"backbone/layer{int(stage) - 1}_{block}/{which}"


# A name may have two places; the one with as many axes is meant.
STATE_DICT_NAMES: Names = (
    # torchvision's, mmdetection's and timm's.
    (r"backbone\.(conv1|bn1)", "backbone/{0}"),
    (r"backbone\.layer(\d)\.(\d+)\.downsample\.\d", "backbone/layer{0}_{1}/downsample_conv"),
    (r"backbone\.layer(\d)\.(\d+)\.downsample\.\d", "backbone/layer{0}_{1}/downsample_bn"),
    (r"backbone\.layer(\d)\.(\d+)\.(\w+)", "backbone/layer{0}_{1}/{2}"),
    (r"backbone\.layer(\d)\.(\d+)\.conv2_offset", "backbone/layer{0}_{1}/conv2/offset"),
    # The stem of variant d is a sequence of convolution, norm, ReLU, and so on.
    (r"backbone\.(?:conv1|stem)\.0", "backbone/conv1_0"),
    (r"backbone\.(?:conv1|stem)\.1", "backbone/bn1_0"),
    (r"backbone\.(?:conv1|stem)\.3", "backbone/conv1_1"),
    (r"backbone\.(?:conv1|stem)\.4", "backbone/bn1_1"),
    (r"backbone\.(?:conv1|stem)\.6", "backbone/conv1_2"),
    (r"backbone\.stem\.7", "backbone/bn1"),
    # PaddleDetection's.
    (r"backbone\.conv1\.conv1\.conv", "backbone/conv1"),
    (r"backbone\.conv1\.conv1(?:_3)?\.norm", "backbone/bn1"),
    (r"backbone\.conv1\.conv1_1\.conv", "backbone/conv1_0"),
    (r"backbone\.conv1\.conv1_1\.norm", "backbone/bn1_0"),
    (r"backbone\.conv1\.conv1_2\.conv", "backbone/conv1_1"),
    (r"backbone\.conv1\.conv1_2\.norm", "backbone/bn1_1"),
    (r"backbone\.conv1\.conv1_3\.conv", "backbone/conv1_2"),
    (
        r"backbone\.res(\d)\.res\d([a-z])(\d*)"
        r"\.(?:branch2([abc])|short)(?:\.conv)?(?:\.(conv|norm))?",
        _paddle_layer,
    ),
    # YOLACT's and detectron2's.
    (_d2(r"stem\.conv1"), "backbone/conv1"),
    (_d2(r"stem\.conv1\.norm"), "backbone/bn1"),
    *(
        (pattern, f"backbone/layer{stage}_{{0}}/{place}")
        for stage in range(1, 5)
        for pattern, place in (
            (rf"backbone\.layers\.{stage - 1}\.(\d+)\.downsample\.\d", "downsample_conv"),
            (rf"backbone\.layers\.{stage - 1}\.(\d+)\.downsample\.\d", "downsample_bn"),
            (rf"backbone\.layers\.{stage - 1}\.(\d+)\.(\w+)", "{1}"),
            (_d2(rf"res{stage + 1}\.(\d+)\.conv(\d)"), "conv{1}"),
            (_d2(rf"res{stage + 1}\.(\d+)\.conv(\d)\.norm"), "bn{1}"),
            (_d2(rf"res{stage + 1}\.(\d+)\.conv2_offset"), "conv2/offset"),
            (_d2(rf"res{stage + 1}\.(\d+)\.shortcut"), "downsample_conv"),
            (_d2(rf"res{stage + 1}\.(\d+)\.shortcut\.norm"), "downsample_bn"),
        )
    ),
)
