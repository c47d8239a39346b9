import numpy as np
import pytest

from solojax.convert import backbones
from solojax.models.resnet import BLOCKS
from solojax.ops import images
from tests.convert.test_state_dict import assert_equal, number

LEAVES = ("weight", "bias", "running_mean", "running_var")


def resnet(depth: int = 50, deep_stem: bool = False) -> dict[str, np.ndarray]:
    """Small arrays by torchvision's names of a ResNet of bottlenecks, or timm's of variant d."""
    norms = {"conv1.1": 1, "conv1.4": 1, "bn1": 1} if deep_stem else {"bn1": 1}
    convs = ["conv1.0", "conv1.3", "conv1.6"] if deep_stem else ["conv1"]
    for stage, count in enumerate(BLOCKS[depth], start=1):
        for block in range(count):
            name = f"layer{stage}.{block}"
            convs += [f"{name}.conv{i}" for i in (1, 2, 3)] + [f"{name}.downsample.0"] * (not block)
            norms |= {f"{name}.bn{i}": 1 for i in (1, 2, 3)}
            norms |= {f"{name}.downsample.1": 1} if not block else {}
    named = {f"{name}.weight": (2, 3, 1, 1) for name in convs}
    named |= {f"{name}.{leaf}": (2,) for name in norms for leaf in LEAVES}
    return {name: number(shape, seed) for seed, (name, shape) in enumerate(named.items())}


def paddleclas(name: str, depth: int, new: bool) -> str:
    """What PaddleClas calls it: now, or in its first release of dynamic graphs."""
    layer, last = name.rsplit(".", 1)
    last = {"running_mean": "_mean", "running_var": "_variance"}.get(last, last)
    is_norm = "bn" in layer or layer.endswith(("downsample.1", "conv1.1", "conv1.4"))
    kind = ("bn" if is_norm else "conv") if new else ("_batch_norm" if is_norm else "_conv")
    if not layer.startswith("layer"):
        place = {"conv1.0": 0, "conv1.1": 0, "conv1.3": 1, "conv1.4": 1, "conv1.6": 2}.get(layer)
        if place is None:  # of a stem of one convolution, or the last norm of three
            place = 2 if "bn1" in layer and depth < 0 else 0
            theirs = f"stem.{place}" if new else f"conv1_{place + 1}" if depth < 0 else "conv"
        else:
            theirs = f"stem.{place}" if new else f"conv1_{place + 1}"
        return f"{theirs}.{kind}.{last}"
    stage, block, which = layer.removeprefix("layer").split(".", 2)
    before = sum(BLOCKS[abs(depth)][: int(stage) - 1]) + int(block)
    theirs = f"blocks.{before}" if new else f"bb_{int(stage) - 1}_{block}"
    which = "short" if which.startswith("down") else f"conv{int(which[-1]) - 1}"
    return f"{theirs}.{which}.{kind}.{last}"


@pytest.mark.parametrize("deep_stem", [False, True])
@pytest.mark.parametrize("new", [False, True])
def test_paddleclas_names_are_those_of_torchvision_and_timm(new, deep_stem):
    named, depth = resnet(deep_stem=deep_stem), -50 if deep_stem else 50
    theirs = {paddleclas(name, depth, new): array for name, array in named.items()}
    assert len(theirs) == len(named)
    assert ("stem.0.conv.weight" if new else "bb_2_5.conv1._conv.weight") in theirs
    assert ("blocks.12.conv1.bn._mean" if new else "bb_3_2.conv2._batch_norm._mean") in theirs
    theirs |= {"fc.weight": number((2, 3), 0), "out.bias": number((3,), 0)}
    assert_equal(backbones.backbone_of(theirs).arrays, named)


def caffe2(name: str) -> str:
    layer, last = name.rsplit(".", 1)
    end = {"weight": "s", "bias": "b"}[last] if "bn" in layer or layer[-1] == "1" else "w"
    if layer in ("conv1", "bn1"):
        return "conv1_w" if layer == "conv1" else f"res_conv1_bn_{end}"
    stage, block, which = layer.removeprefix("layer").split(".", 2)
    is_norm = which.startswith("bn") or which == "downsample.1"
    branch = "1" if which.startswith("down") else "2" + "abc"[int(which[-1]) - 1]
    end = f"bn_{end}" if is_norm else "w"
    return f"res{int(stage) + 1}_{block}_branch{branch}_{end}"


def test_caffe2_names_get_their_statistics_and_a_first_convolution_for_our_colours():
    named = resnet()
    affine = {name: array for name, array in named.items() if "running" not in name}
    theirs = {caffe2(name): array for name, array in affine.items()}
    assert {"res2_0_branch1_bn_s", "res4_5_branch2b_w", "res_conv1_bn_b"} <= theirs.keys()
    found = backbones.backbone_of({**theirs, "pred_w": number((2, 3), 0)})
    assert found.is_caffe2 and found.arrays.keys() == named.keys()
    stem = found.arrays.pop("conv1.weight")[:, :, 0, 0]
    for name, array in found.arrays.items():
        if name in affine:
            np.testing.assert_array_equal(array, affine[name])
        else:
            np.testing.assert_allclose(array, 0 if "mean" in name else 1, atol=1.1e-5)
    rgb, mean = np.array([10.0, 100, 200]), np.array(images.MEAN)
    wanted = affine["conv1.weight"][:, :, 0, 0] @ (rgb - mean)[::-1]
    np.testing.assert_allclose(stem @ ((rgb - mean) / images.STD), wanted, rtol=1e-5)


def test_the_backbone_of_a_detector_is_taken_alone():
    named = resnet(14)
    for prefix in ("backbone.", "backbone.bottom_up."):
        given = {f"{prefix}{name}": array for name, array in named.items()}
        given |= {"neck.x.weight": number((2,), 0), "head.fc.bias": number((2,), 0)}
        assert_equal(backbones.backbone_of(given).arrays, named)
