"""State dicts of our variables by the names that projects give them: the way back of a conversion.

Written from the modules of each project, and from none of the tables that are tested by it. An
array here is named ``params/backbone/conv1/kernel``; theirs are ``O I H W``.
"""

import re
from collections.abc import Callable, Mapping

import numpy as np

Arrays = dict[str, np.ndarray]
LEVELS = ("p2", "p3", "p4", "p5", "p6")
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def torch_leaf(leaf: str) -> str:
    return {
        "kernel": "weight",
        "scale": "weight",
        "mean": "running_mean",
        "var": "running_var",
    }.get(leaf, leaf)


def paddle_leaf(leaf: str) -> str:
    return {"kernel": "weight", "scale": "weight", "mean": "_mean", "var": "_variance"}.get(
        leaf, leaf
    )


def turned(path: str, array: np.ndarray) -> np.ndarray:
    """``H W I O -> O I H W``, ``I O -> O I``."""
    if not path.endswith("/kernel"):
        return array
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T


def torchvision_layer(layer: str, deep_shift: bool) -> str:
    """backbone layers as in torchvision, and in timm where the stem is deep."""
    stem = {"conv1_0": "conv1.0", "bn1_0": "conv1.1", "conv1_1": "conv1.3", "bn1_1": "conv1.4"}
    if layer in (*stem, "conv1_2"):
        return (stem | {"conv1_2": "conv1.6"})[layer]
    first = 1 if deep_shift else 0
    layer = layer.replace("downsample_conv", f"downsample.{first}")
    layer = layer.replace("downsample_bn", f"downsample.{first + 1}")
    return re.sub(r"layer(\d)_(\d+)/", r"layer\1.\2.", layer).replace("/offset", ".conv_offset")


def detectron2_layer(layer: str) -> str:
    if layer in ("conv1", "bn1"):
        return {"conv1": "stem.conv1", "bn1": "stem.conv1.norm"}[layer]
    stage, block, what = re.fullmatch(r"layer(\d)_(\d+)/(.*)", layer).groups()
    what = {"downsample_conv": "shortcut", "downsample_bn": "shortcut.norm"}.get(what, what)
    what = re.sub(r"bn(\d)", r"conv\1.norm", what).replace("conv2/offset", "conv2_offset")
    return f"res{int(stage) + 1}.{block}.{what}"


def paddle_layer(layer: str, blocks_of_stage_3: int) -> str:
    stems = {
        "conv1": "conv1.conv1.conv",
        "conv1_0": "conv1.conv1_1.conv",
        "bn1_0": "conv1.conv1_1.norm",
        "conv1_1": "conv1.conv1_2.conv",
        "bn1_1": "conv1.conv1_2.norm",
        "conv1_2": "conv1.conv1_3.conv",
    }
    if layer in stems:
        return stems[layer]
    stage, block, what = re.fullmatch(r"layer(\d)_(\d+)/(.*)", layer).groups()
    long = stage == "3" and blocks_of_stage_3 > 10
    place = ("a" if block == "0" else f"b{block}") if long else LETTERS[int(block)]
    name = f"res{int(stage) + 1}.res{int(stage) + 1}{place}"
    if what.startswith("downsample"):
        return f"{name}.short.{'norm' if what.endswith('bn') else 'conv'}"
    letter = LETTERS[int(re.search(r"\d", what)[0]) - 1]
    inside = "conv_offset" if "offset" in what else "norm" if what.startswith("bn") else "conv"
    return f"{name}.branch2{letter}.{inside}"


def named(arrays: Mapping[str, np.ndarray], layer_of: Callable, leaf_of: Callable) -> Arrays:
    """``layer_of`` names a layer of the whole network, such as head/category_predictor."""
    found = {}
    for path, array in arrays.items():
        _, *layer, leaf = path.split("/")
        name = f"{layer_of('/'.join(layer))}.{leaf_of(leaf)}"
        assert name not in found
        found[name] = turned(path, array)
    return found


def mmdet_neck(layer: str) -> str:
    what, level = layer.split("_")
    place = int(level[1:]) - 2
    return f"neck.{'lateral_convs' if what == 'lateral' else 'fpn_convs'}.{place}.conv"


def mmdet_head(layer: str) -> str:
    for name, theirs in (
        ("category_predictor", "conv_cls"),
        ("kernel_predictor", "conv_kernel"),
        ("mask_predictor", "conv_mask_list"),
        ("x_predictor", "conv_mask_list_x"),
        ("y_predictor", "conv_mask_list_y"),
    ):
        if layer.startswith(name):
            level = layer.removeprefix(name).strip("_")
            return f"mask_head.{theirs}{'.' + str(LEVELS.index(level)) if level else ''}"
    trunk, block, *inside = layer.split("/")
    inside = ".".join(inside).replace("norm", "gn").replace("conv.offset", "conv.conv_offset")
    if trunk == "mask_features":
        if block == "fuse":
            return f"mask_head.mask_feature_head.conv_pred.{inside}"
        level, conv = block.split("_")
        place = LEVELS.index(level)
        return f"mask_head.mask_feature_head.convs_all_levels.{place}.conv{conv}.{inside}"
    theirs = {
        "category_trunk": "cls_convs",
        "kernel_trunk": "kernel_convs",
        "mask_trunk": "mask_convs",
        "x_trunk": "mask_convs_x",
        "y_trunk": "mask_convs_y",
    }[trunk]
    return f"mask_head.{theirs}.{block.removeprefix('conv_')}.{inside}"


def mmdetection(arrays: Mapping[str, np.ndarray]) -> Arrays:
    deep = any("conv1_0" in path for path in arrays)

    def layer_of(layer: str) -> str:
        part, rest = layer.split("/", 1)
        if part == "backbone":
            return f"backbone.{torchvision_layer(rest, deep)}"
        return mmdet_neck(rest) if part == "neck" else mmdet_head(rest)

    return named(arrays, layer_of, torch_leaf)


AUTHORS_NAMES = (
    ("mask_head.mask_feature_head.conv_pred.", "mask_feat_head.conv_pred.0."),
    ("mask_head.mask_feature_head.", "mask_feat_head."),
    ("mask_head.mask_convs", "bbox_head.ins_convs"),
    ("mask_head.cls_convs", "bbox_head.cate_convs"),
    ("mask_head.kernel_convs", "bbox_head.kernel_convs"),
    ("mask_head.conv_kernel", "bbox_head.solo_kernel"),
    ("mask_head.conv_mask_list_", "bbox_head.dsolo_ins_list_"),
    ("mask_head.conv_mask_list", "bbox_head.solo_ins_list"),
)


def authors_name(name: str, *, decoupled: bool) -> str:
    """mmdetection's name of an array -> the authors', who call Decoupled SOLO's classes dsolo."""
    category = f"bbox_head.{'d' * decoupled}solo_cate"
    for theirs, ours in (*AUTHORS_NAMES, ("mask_head.conv_cls", category)):
        name = name.replace(theirs, ours)
    return name


def authors(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """WXinlong/SOLO, by section 1 of its modules; Decoupled SOLO calls its classes dsolo_cate."""
    decoupled = any("x_predictor" in path for path in arrays)
    return {
        authors_name(name, decoupled=decoupled): array
        for name, array in mmdetection(arrays).items()
    }


def adelaidet(arrays: Mapping[str, np.ndarray]) -> Arrays:
    def layer_of(layer: str) -> str:
        part, rest = layer.split("/", 1)
        if part == "backbone":
            return f"backbone.bottom_up.{detectron2_layer(rest)}"
        if part == "neck":
            what, level = rest.split("_")
            return f"backbone.fpn_{what}{level[1:]}"
        if rest.endswith("_predictor"):
            return f"ins_head.{rest.replace('category', 'cate').replace('predictor', 'pred')}"
        trunk, block, inside = rest.split("/")
        norm = inside == "norm"
        if trunk == "mask_features":
            if block == "fuse":
                return f"mask_head.conv_pred.{int(norm)}"
            level, conv = block.split("_")
            place = LEVELS.index(level)
            return f"mask_head.convs_all_levels.{place}.conv{conv}.{int(norm)}"
        tower = trunk.replace("category", "cate").replace("trunk", "tower")
        return f"ins_head.{tower}.{3 * int(block.removeprefix('conv_')) + norm}"

    found = named(arrays, layer_of, torch_leaf)
    # Its images are BGR.
    stem = "backbone.bottom_up.stem.conv1.weight"
    return found | {stem: found[stem][:, ::-1]}


def paddledetection(arrays: Mapping[str, np.ndarray]) -> Arrays:
    deep = any("conv1_0" in path for path in arrays)
    blocks = len({path.split("/")[2] for path in arrays if "/layer3_" in path})
    moved = {path.removesuffix("/offset/bias") for path in arrays if path.endswith("/offset/bias")}

    def layer_of(layer: str) -> str:
        part, rest = layer.split("/", 1)
        if part == "backbone":
            if rest == "bn1":
                return f"backbone.conv1.{'conv1_3' if deep else 'conv1'}.norm"
            name = f"backbone.{paddle_layer(rest, blocks)}"
            averaged = deep and not rest.startswith("layer1")
            return name.replace(".short.", ".short.conv.") if averaged else name
        if part == "neck":
            what, level = rest.split("_")
            if what == "output":
                return f"neck.fpn_res{level[1:]}_sum"
            return f"neck.fpn_inner_res{level[1:]}_sum{'' if level == 'c5' else '_lateral'}"
        if rest.endswith("_predictor"):
            what = {"category_predictor": "cate", "kernel_predictor": "kernel"}[rest]
            return f"solov2_head.bbox_head.solo_{what}"
        trunk, block, *inside = rest.split("/")
        if inside == ["conv"] and f"params/{layer}" in moved:
            inside = ["conv", "conv_dcn"]
        inside = ".".join(inside).replace("offset", "conv_offset")
        if trunk == "mask_features":
            if block == "fuse":
                return f"mask_head.mask_feat_head.conv_pred.0.{inside}"
            level, conv = block.split("_")
            n = LEVELS.index(level)
            sequence = f"mask_head.conv_pre_feat{n}.mask_feat_head.convs_all_levels.{n}"
            return f"{sequence}.conv{conv}.{inside}"
        theirs = {"category_trunk": "cate_convs", "kernel_trunk": "kernel_convs"}[trunk]
        return f"solov2_head.bbox_head.{theirs}.{block.removeprefix('conv_')}.{inside}"

    return named(arrays, layer_of, paddle_leaf)


def sparseinst(arrays: Mapping[str, np.ndarray]) -> Arrays:
    deep = any("conv1_0" in path for path in arrays)  # of timm, where not of detectron2

    def layer_of(layer: str) -> str:
        part, _, rest = layer.partition("/")
        if part == "backbone":
            if not deep:
                return f"backbone.{detectron2_layer(rest)}"
            name = torchvision_layer(rest, deep)
            return f"backbone.{name.replace('.conv2.conv_offset', '.conv2_offset')}"
        if part == "neck":
            if rest.startswith(("lateral", "output")):
                what, level = rest.split("_")
                return f"encoder.fpn_{what}s.{5 - int(level[1:])}"
            if rest == "fusion":
                return "encoder.fusion"
            what = rest.removeprefix("pyramid_pooling/")
            if what == "fusion":
                return "encoder.ppm.bottleneck"
            return f"encoder.ppm.stages.{what.removeprefix('pool_')}.1"
        if "_trunk/" in rest:
            trunk, block, _ = rest.split("/")
            place = 2 * int(block.removeprefix("conv_"))
            if trunk == "mask_trunk":
                return f"decoder.mask_branch.mask_convs.{place}"
            return f"decoder.inst_branch.inst_convs.{place}"
        return {
            "": "decoder.inst_branch",  # softmax_bias
            "activation_maps": "decoder.inst_branch.iam_conv",
            "group_fusion": "decoder.inst_branch.fc",
            "class_predictor": "decoder.inst_branch.cls_score",
            "kernel_predictor": "decoder.inst_branch.mask_kernel",
            "objectness_predictor": "decoder.inst_branch.objectness",
            "mask_predictor": "decoder.mask_branch.projection",
        }[rest]

    return named(arrays, layer_of, torch_leaf)


def yolact(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """YOLACT++ has biases in its deformable convolutions, before a batch norm."""

    def layer_of(layer: str) -> str:
        part, rest = layer.split("/", 1)
        if part == "backbone":
            name = re.sub(
                r"^layer(\d)", lambda m: f"layers.{int(m[1]) - 1}", torchvision_layer(rest, False)
            )
            return f"backbone.{name.replace('conv_offset', 'conv_offset_mask')}"
        if part == "neck":
            what, level = rest.split("_")
            kind = {"lateral": "lat", "output": "pred", "coarser": "downsample"}[what]
            place = int(level[1:]) - 6 if what == "coarser" else 5 - int(level[1:])
            return f"fpn.{kind}_layers.{place}"
        if rest.startswith("prototypes/"):
            where = rest.removeprefix("prototypes/").removesuffix("/conv")
            places = {"conv_0": 0, "conv_1": 2, "conv_2": 4, "conv_3": 8, "predictor": 10}
            return f"proto_net.{places[where]}"
        if rest.startswith("rescoring/"):
            return f"maskiou_net.maskiou_net.{2 * int(rest.removeprefix('rescoring/conv_'))}"
        return {
            "trunk/conv": "prediction_layers.0.upfeature.0",
            "box_predictor": "prediction_layers.0.bbox_layer",
            "class_predictor": "prediction_layers.0.conf_layer",
            "coefficient_predictor": "prediction_layers.0.mask_layer",
            "semantic_predictor": "semantic_seg_conv",
        }[rest]

    found = named(arrays, layer_of, torch_leaf)
    moved = [name.removesuffix(".conv_offset_mask.bias") for name in found if "_mask.bias" in name]
    for name in moved:
        mean = f"{name.replace('conv2', 'bn2')}.running_mean"
        if mean in found:
            found[f"{name}.bias"] = np.full_like(found[mean], 0.25)
            found[mean] = found[mean] + np.float32(0.25)
    return found
