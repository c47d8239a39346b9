"""What the parameters of the SOLO family are called in published files.

Those are mmdetection's, the authors', PaddleDetection's and AdelaiDet's.
"""

import re

from solojax.models.detector import Names

_HEAD = r"(?:(?:mask|bbox)_head|solov2_head\.bbox_head)\."
_FEATURES = (
    r"(?:(?:mask|bbox)_head\.mask_feature_head"
    r"|(?:mask_head\.(?:conv_pre_feat\d\.)?)?mask_feat_head)\."
)
_MAPS = r"(?:conv_mask_list|d?solo_ins_list)"
_CONV, _NORM = r"\.conv(?:\.conv_dcn)?", r"\.(?:gn|norm)"  # of a block


def names_of(levels: tuple[str, ...], mask_levels: tuple[str, ...] = ()) -> Names:
    """Those of a head with a grid of ``levels``, whose mask features are of ``mask_levels``."""
    blocks = [
        (_HEAD + r"(?:cls|cate)_convs\.(\d+)", "category_trunk/conv_{0}"),
        (_HEAD + r"(?:mask|ins)_convs\.(\d+)", "mask_trunk/conv_{0}"),
        (_HEAD + r"(?:mask|ins)_convs_([xy])\.(\d+)", "{0}_trunk/conv_{1}"),
        (_HEAD + r"kernel_convs\.(\d+)", "kernel_trunk/conv_{0}"),
        (_FEATURES + r"conv_pred(?:\.0)?", "mask_features/fuse"),
    ]
    layers = [
        (_HEAD + r"(?:conv_cls|d?solo_cate)|ins_head\.cate_pred", "category_predictor"),
        (_HEAD + r"(?:conv|solo)_kernel|ins_head\.kernel_pred", "kernel_predictor"),
        (r"mask_head\.conv_pred\.0", "mask_features/fuse/conv"),
        (r"mask_head\.conv_pred\.1", "mask_features/fuse/norm"),
    ]
    for number, level in enumerate(mask_levels):
        block, place = rf"convs_all_levels\.{number}\.conv(\d)", f"mask_features/{level}_{{0}}"
        blocks.append((_FEATURES + block, place))
        layers.append((rf"mask_head\.{block}\.0", f"{place}/conv"))
        layers.append((rf"mask_head\.{block}\.1", f"{place}/norm"))
    for number, level in enumerate(levels):
        layers.append((_HEAD + _MAPS + rf"\.{number}", f"mask_predictor_{level}"))
        layers.append((_HEAD + _MAPS + rf"_([xy])\.{number}", f"{{0}}_predictor_{level}"))
    for pattern, place in blocks:
        layers += [(pattern + _CONV, f"{place}/conv"), (pattern + _NORM, f"{place}/norm")]
    return (
        *((pattern, f"head/{place}") for pattern, place in layers),
        (r"ins_head\.(cate|kernel)_tower\.(\d+)", _tower_layer),
    )


def _tower_layer(match: re.Match[str]) -> str:
    """AdelaiDet's towers are sequences of convolution, norm, ReLU, and so on."""
    trunk, place = {"cate": "category", "kernel": "kernel"}[match[1]], int(match[2])
    return f"head/{trunk}_trunk/conv_{place // 3}/{('conv', 'norm', 'relu')[place % 3]}"
