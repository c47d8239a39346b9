"""What the parameters of the SOLO family are called in mmdetection's files and in the authors'."""

from solojax.models.detector import Names

_HEAD = r"(?:mask|bbox)_head\."
_FEATURES = r"(?:(?:mask|bbox)_head\.mask_feature_head|mask_feat_head)\."
_MAPS = r"(?:conv_mask_list|d?solo_ins_list)"


def names_of(levels: tuple[str, ...], mask_levels: tuple[str, ...] = ()) -> Names:
    """Those of a head with a grid of ``levels``, whose mask features are of ``mask_levels``."""
    blocks = [
        (_HEAD + r"(?:cls|cate)_convs\.(\d+)", "category_trunk/conv_{0}"),
        (_HEAD + r"(?:mask|ins)_convs\.(\d+)", "mask_trunk/conv_{0}"),
        (_HEAD + r"(?:mask|ins)_convs_([xy])\.(\d+)", "{0}_trunk/conv_{1}"),
        (_HEAD + r"kernel_convs\.(\d+)", "kernel_trunk/conv_{0}"),
        (_FEATURES + r"conv_pred(?:\.0)?", "mask_features/fuse"),
    ]
    for number, level in enumerate(mask_levels):
        pattern = _FEATURES + rf"convs_all_levels\.{number}\.conv(\d)"
        blocks.append((pattern, f"mask_features/{level}_{{0}}"))
    layers = [
        (_HEAD + r"(?:conv_cls|d?solo_cate)", "category_predictor"),
        (_HEAD + r"(?:conv|solo)_kernel", "kernel_predictor"),
    ]
    for number, level in enumerate(levels):
        layers.append((_HEAD + _MAPS + rf"\.{number}", f"mask_predictor_{level}"))
        layers.append((_HEAD + _MAPS + rf"_([xy])\.{number}", f"{{0}}_predictor_{level}"))
    for pattern, place in blocks:
        layers += [(pattern + r"\.conv", f"{place}/conv"), (pattern + r"\.gn", f"{place}/norm")]
    return tuple((pattern, f"head/{place}") for pattern, place in layers)
