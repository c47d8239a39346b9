"""Published weights become runs: each source's names, each kind of model, and what is told."""

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import traverse_util

from solojax import config as config_lib
from solojax import processes
from solojax.cli import main
from solojax.config import Config, Data
from solojax.convert import architecture, choice, class_names, safetensors, state_dict, weights
from solojax.data import synthetic
from solojax.heads.anchors import Anchors
from solojax.heads.decoupled_solo import DecoupledSOLO
from solojax.heads.grid import Grid
from solojax.heads.solo import SOLO
from solojax.heads.solov2 import SOLOv2
from solojax.heads.sparseinst import SparseInst
from solojax.heads.yolact import YOLACT
from solojax.inference.predictor import Predictor
from solojax.models import detector
from solojax.models.bilinear_fpn import BilinearFPN
from solojax.models.context import ContextEncoder
from solojax.models.detector import Detector
from solojax.models.fpn import FPN
from solojax.models.resnet import ResNet
from solojax.training import checkpoint, pretrained
from solojax.types import InputError
from tests import examples, quick
from tests.convert import pickled, published

SMALL = {"num_classes": 3, "grid": Grid(sizes=(5, 4, 3, 2, 1)), "width": 8, "groups": 4}
SMALL_V2 = {**SMALL, "depth": 2, "kernel_width": 8, "mask_feature_width": 4}
R14 = ResNet(14, width=8)
DCN = ResNet(14, width=8, deform="v2")
DEFORMED = {"deform": "v2", "deform_mask_features": True}


def solo_family(head: Any, backbone: ResNet = R14) -> Detector:
    return Detector(backbone, FPN(8), head)


def sparseinst(backbone: ResNet, **settings: Any) -> Detector:
    head = SparseInst(
        3, slots=5, width=8, mask_width=8, kernel_width=4, groups=2, depth=2, **settings
    )
    return Detector(backbone, ContextEncoder(8, pool_width=4), head)


def yolact(backbone: ResNet, **settings: Any) -> Detector:
    head = YOLACT(3, Anchors(canvas=(64, 64)), width=8, prototype_width=8, prototypes=4, **settings)
    return Detector(backbone, BilinearFPN(8), head)


BY_MMDETECTION = {
    "solo": solo_family(SOLO(**SMALL, depth=3)),
    "decoupled": solo_family(DecoupledSOLO(**SMALL, depth=3), ResNet(10, width=8)),
    "light": solo_family(DecoupledSOLO(**SMALL, depth=2, shared_trunk=True, deform="v1"), DCN),
    "v2": solo_family(SOLOv2(**SMALL_V2)),
    "v2-dcn": solo_family(SOLOv2(**SMALL_V2, **DEFORMED, deform_convs="all"), DCN),
    "v2-d": solo_family(SOLOv2(**SMALL_V2), ResNet(10, width=8, variant="d")),
    "v2-x": solo_family(SOLOv2(**SMALL_V2), ResNet(14, width=8, groups=4, group_width=16)),
}
CASES: dict[str, tuple[Callable, Detector]] = {
    **{f"mmdetection-{name}": (published.mmdetection, m) for name, m in BY_MMDETECTION.items()},
    **{f"authors-{name}": (published.authors, m) for name, m in BY_MMDETECTION.items()},
    "adelaidet": (published.adelaidet, BY_MMDETECTION["v2"]),
    "paddle": (published.paddledetection, BY_MMDETECTION["v2"]),
    "paddle-vd-dcn": (
        published.paddledetection,
        solo_family(
            SOLOv2(**SMALL_V2, **DEFORMED, deform_bias=True),
            ResNet(14, width=8, variant="d", deform="v2", deform_stages=(3, 4)),
        ),
    ),
    "sparseinst": (published.sparseinst, sparseinst(R14)),
    "sparseinst-dcn": (
        published.sparseinst,
        sparseinst(ResNet(14, width=8, deform="v1", deform_stages=(3,)), activation="group"),
    ),
    "sparseinst-vd": (
        published.sparseinst,
        sparseinst(ResNet(14, width=8, variant="d", deform="v1"), activation="group_softmax"),
    ),
    "yolact": (published.yolact, yolact(R14)),
    "yolact++": (published.yolact, yolact(DCN, rescoring_widths=(4, 8))),
    "yolact++-third": (
        published.yolact,
        yolact(ResNet(50, width=4, deform="v2", deform_every=3), rescoring_widths=(4, 8)),
    ),
}


@functools.cache
def variables_of(model: Detector) -> dict[str, np.ndarray]:
    """Random numbers, of steps of 1/256 so that sums of them are exact, by path."""
    shapes = traverse_util.flatten_dict(detector.variable_shapes(model), sep="/")
    rng = np.random.default_rng(0)
    return {
        path: rng.integers(-512, 512, shape.shape).astype(np.float32) / 256
        for path, shape in shapes.items()
    }


def save(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("name", CASES)
def test_a_model_comes_back_from_the_names_of_each_project_bit_for_bit(name, tmp_path, monkeypatch):
    write, model = CASES[name]
    expected = variables_of(model)
    named = write(expected)
    named["backbone.fc.bias"] = np.zeros(2, np.float32)
    file = save(tmp_path / "weights.npz", named)
    # The config has other classes and widths, which follow from the file; its norms do not.
    other = model.clone(head=model.head.clone(num_classes=7))
    config = Config(other, Data(canvases=((64, 64),)))
    monkeypatch.setattr(config_lib, "load", lambda _: config)
    found = weights.read(file, "tiny")
    assert {k: v.tobytes() for k, v in weights.named(found.variables).items()} == {
        k: v.tobytes() for k, v in expected.items()
    }
    wanted = model
    if name == "adelaidet":
        wanted = model.clone(backbone=model.backbone.clone(variant="a"), std=(1.0, 1.0, 1.0))
    assert found.config.model == wanted
    assert [one.name for one in found.config.data.categories] == ["class 1", "class 2", "class 3"]
    said = "\n".join(found.said)
    assert f"taken: {len(named) - 1} arrays" in said
    assert "skipped: 1 classifiers of whole images (backbone.fc.bias)" in said


def test_a_checkpoint_of_mmdetection_names_its_classes_and_has_averages(tmp_path, config_file):
    named = published.mmdetection(variables_of(BY_MMDETECTION["v2"]))
    averages = {f"ema_{name.replace('.', '_')}": array + 1 for name, array in named.items()}
    counter = {"backbone.bn1.num_batches_tracked": np.array(7, np.float32)}
    file = tmp_path / "epoch_36.pth"
    meta = {"CLASSES": ("cat", "dog", "bat"), "epoch": 36}
    pickled.save(file, named | averages | counter, meta=meta, optimizer={"state": {}})
    found = [weights.read(file, str(config_file), ema=ema) for ema in (False, True)]
    plain, averaged = (weights.named(one.variables) for one in found)
    assert all(np.array_equal(plain[name] + 1, averaged[name]) for name in plain)
    assert [one.name for one in found[0].config.data.categories] == ["cat", "dog", "bat"]
    said = "\n".join(found[0].said)
    assert "skipped: 1 counters of batches (backbone.bn1.num_batches_tracked)" in said
    assert "left: meta and 1 more, which stands beside state_dict" in said
    assert "which is of the second set of weights" in said


@pytest.fixture(scope="module")
def config_file(tmp_path_factory) -> Path:
    """A config of the tiny SOLOv2, as a user has it."""
    model = BY_MMDETECTION["v2"]
    path = tmp_path_factory.mktemp("config") / "tiny.json"
    path.write_text(config_lib.to_json(Config(model, Data(canvases=((64, 64),)))))
    python = path.with_suffix(".py")
    python.write_text(
        "from pathlib import Path\nfrom solojax import config as lib\n"
        f"config = lib.from_json(Path({str(path)!r}).read_text(), 'tiny')\n"
    )
    return python


@pytest.fixture(scope="module")
def run(tmp_path_factory, config_file) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    file = save(folder / "weights.npz", published.mmdetection(variables_of(BY_MMDETECTION["v2"])))
    command = ["convert", str(file), "--config", str(config_file), "--classes", "cat,dog,bat"]
    assert main([*command, "--to", str(folder / "run")]) == 0
    return folder / "run"


def by_bytes(variables: Any) -> dict[str, bytes]:
    return {name: np.asarray(x).tobytes() for name, x in checkpoint.by_name(variables).items()}


def test_a_run_of_converted_weights_is_one_like_any_other(run):
    model = BY_MMDETECTION["v2"]
    predictor = Predictor.from_run(run)
    assert [one.name for one in predictor.categories] == ["cat", "dog", "bat"]
    step, found = checkpoint.read_variables(run, detector.variable_shapes(model))
    assert step == 0
    assert by_bytes(found) == {k: v.tobytes() for k, v in variables_of(model).items()}


def test_a_run_goes_into_a_file_to_share_and_comes_back_the_same(run, tmp_path, capsys):
    file = tmp_path / "shared.safetensors"
    assert main(["convert", str(run), "--to", str(file)]) == 0
    assert main(["convert", str(file), "--to", str(tmp_path / "again")]) == 0
    assert "taken: all" in capsys.readouterr().out
    assert (tmp_path / "again/config.json").read_bytes() == (run / "config.json").read_bytes()
    arrays = [examples.arrays_of(folder)[1] for folder in (run, tmp_path / "again")]
    assert by_bytes(arrays[0]) == by_bytes(arrays[1])
    arrays[0].pop("params/head/kernel_predictor/bias")
    about = {weights.CONFIG: (run / "config.json").read_text()}
    file.write_bytes(safetensors.written(arrays[0], about))
    assert main(["convert", str(file), "--to", str(tmp_path / "third")]) == 2
    said = capsys.readouterr().err
    assert "params/head/kernel_predictor/bias is not filled" in said


def test_a_training_on_one_class_begins_from_a_converted_run_by_set_alone(
    run, config_file, tmp_path, capsys, monkeypatch
):
    began = quick.install(monkeypatch.setattr)
    synthetic.draw_shapes(tmp_path / "one", train=8, val=1, processes=1)
    path = tmp_path / "one/annotations/instances_train.json"
    content = json.loads(path.read_text())
    content["categories"] = [{"id": 9, "name": "cell"}]
    content["annotations"] = [one | {"category_id": 9} for one in content["annotations"]]
    path.write_text(json.dumps(content))
    for left in ("instances_val.json", "panoptic_val.json"):
        path.with_name(left).unlink()
    command = ["train", "--config", str(config_file), "--workdir", str(tmp_path / "run"), "--set"]
    command += [f"data.root={tmp_path / 'one'}", f"data.records={tmp_path / 'records'}"]
    command += ["data.workers=1", "training.batch_size=8", "training.steps=1"]
    command += [f"training.pretrained={run}"]
    assert main(command) == 2
    assert "if only the classes differ, set training.reset_classes=True" in capsys.readouterr().err
    assert main([*command, "training.reset_classes=True"]) == 0
    found = by_bytes(began[0])
    before = {k: v.tobytes() for k, v in variables_of(BY_MMDETECTION["v2"]).items()}
    fresh = {f"params/head/category_predictor/{leaf}" for leaf in ("bias", "kernel")}
    assert {name for name in before if found[name] != before[name]} == fresh
    said = f"new for 1 classes: {', '.join(sorted(fresh))}"
    assert capsys.readouterr().out.splitlines().count(said) == 1
    assert checkpoint.read_config(tmp_path / "run").data.categories == (
        config_lib.Category(9, "cell"),
    )


def test_a_training_that_would_read_images_otherwise_than_its_weights_is_refused(
    run, tmp_path, monkeypatch
):
    config = checkpoint.read_config(run)
    monkeypatch.setattr(processes, "collect", None)  # process 0 looks at them alone
    model = config.model.clone(backbone=R14.clone(variant="a"), std=(1.0, 1.0, 1.0))
    training = dataclasses.replace(config.training, pretrained=str(run))
    config = dataclasses.replace(config, model=model, training=training)
    wanted = (
        r"otherwise than this config: set model.std=58.395,57.12,57.375 model.backbone.variant=b"
    )
    with pytest.raises(InputError, match=wanted):
        pretrained.start_variables(config, tmp_path)


def test_weights_of_adelaidet_see_in_rgb_what_they_saw_in_bgr(tmp_path):
    named = published.adelaidet(variables_of(BY_MMDETECTION["v2"]))
    config = Config(BY_MMDETECTION["v2"], Data(canvases=((64, 64),)))
    placed = state_dict.place(named, config.model)
    config, variables = weights.of_caffe(config, placed.variables)
    image = np.random.default_rng(0).integers(0, 256, (1, 7, 7, 3)).astype(np.uint8)
    ours = config.model.normalize(image, np.array([[7, 7]]), np.float32)
    theirs = image[..., ::-1] - np.float32([103.53, 116.28, 123.675])
    kernel = named["backbone.bottom_up.stem.conv1.weight"]
    np.testing.assert_allclose(
        np.einsum("bhwi,hwio->bo", ours, variables["params"]["backbone"]["conv1"]["kernel"]),
        np.einsum("bhwi,oihw->bo", theirs, kernel),
        rtol=1e-4,
    )


def test_what_does_not_fit_is_told_by_its_first_twenty_differences(config_file, tmp_path, capsys):
    named = published.mmdetection(variables_of(BY_MMDETECTION["v2"]))
    named["mask_head.conv_kernel.bias"] = np.zeros(9, np.float32)
    named |= {f"mask_head.more.{i}.weight": np.zeros(1, np.float32) for i in range(30)}
    del named["neck.fpn_convs.0.conv.bias"]
    file = save(tmp_path / "weights.npz", named)
    command = ["convert", str(file), "--config", str(config_file), "--to", str(tmp_path / "run")]
    assert main(command) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"solojax: error: {file} does not fit the model that it is of:"
    assert said[1] == "  mask_head.conv_kernel.bias gives (9,) where (8,) is wanted"
    assert said[2] == "  mask_head.more.0.weight has no place in the model"
    assert len(said) == 22 and said[21] == "  and 13 more"
    assert not (tmp_path / "run").exists()


def named_solov2() -> dict[str, np.ndarray]:
    return published.mmdetection(variables_of(BY_MMDETECTION["v2"]))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (
            {n.removeprefix("backbone."): a for n, a in named_solov2().items() if "backbone" in n},
            "it holds a backbone and no head; begin a training with it by",
        ),
        ({"rpn.head.weight": np.zeros(3, np.float32)}, "no project that is known here: rpn.head"),
        (
            {n: a for n, a in named_solov2().items() if "layer4.0" not in n},
            r"its backbone has the blocks (1, 1, 1, 0), which are those of none of ResNet 10, 14",
        ),
        (
            {n: a for n, a in named_solov2().items() if "conv_cls" not in n},
            "names of mmdetection, and no such array for head/category_predictor/kernel",
        ),
        (
            named_solov2() | {"mask_head.conv_cls.bias": np.full(3, np.nan, np.float32)},
            "params/head/category_predictor/bias has numbers that are not finite",
        ),
    ],
)
def test_what_is_no_whole_detector_is_told_in_a_line(arrays, said, config_file, tmp_path, capsys):
    file = save(tmp_path / "weights.npz", arrays)
    command = ["convert", str(file), "--config", str(config_file), "--to", str(tmp_path / "run")]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert main([*command[:-1], str(tmp_path)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main([*command[:-1], str(tmp_path / "new.pth")]) == 2
    assert "a run folder, or a file that ends in .safetensors" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["mmdetection-v2-dcn", "mmdetection-solo", "sparseinst-dcn", "yolact"]
)
def test_shapes_of_no_network_are_refused_like_others(name):
    write, model = CASES[name]
    named = write(variables_of(model))
    config = Config(model, Data(canvases=((64, 64),)))
    for number, layer in enumerate(list(named)[::4]):
        shape = ((), (0,), (2, 3), (0, 0, 0, 0), (1, 1, 1, 1), (2, 2, 2, 2, 2))[number % 6]
        strange = {**named, layer: np.zeros(shape, np.float32)}
        with pytest.raises(InputError) as refused:
            found = architecture.recognise(strange)
            adapted, _ = choice.adapt(config, found)
            state_dict.place(strange, adapted.model if adapted.model == model else model)
        assert "\n" not in str(refused.value), (layer, shape)


def found_of(name: str, **changes: Any) -> architecture.Architecture:
    """What would be found of the weights of a config, with fields that are others there."""
    model = config_lib.load(name).model
    fields = {f"backbone.{k}": getattr(model.backbone, k) for k in ("depth", "variant", "deform")}
    fields |= {
        f"head.{k}": getattr(model.head, k)
        for k in ("width", "depth", "deform", "prototypes", "rescoring_widths")
        if hasattr(model.head, k)
    }
    head, neck = type(model.head), type(model.neck)
    given = {key.replace("__", "."): value for key, value in changes.items()}
    return architecture.Architecture("", head, neck, 5, fields | given)


@pytest.mark.parametrize(
    ("found", "called", "name", "changed"),
    [
        (found_of("solov2_r50_fpn_3x"), "model_final", "solov2_r50_fpn_3x", []),
        (found_of("solov2_r50_fpn_3x"), "solov2_r50_1x", "solov2_r50_fpn_1x", []),
        (
            found_of("solov2_r101_dcn_fpn_3x", backbone__variant="d", head__deform_bias=True),
            "solov2_r101_vd_fpn_3x_coco",
            "solov2_r101_dcn_fpn_3x",
            ["backbone.variant=d (in the config b)", "head.deform_bias=True (in the config False)"],
        ),
        (
            found_of("yolact_plus_r50_550", backbone__depth=101, backbone__deform_every=3),
            "yolact_plus_base_54_800000",
            "yolact_plus_r50_550",
            ["backbone.depth=101 (in the config 50)", "backbone.deform_every=3 (in the config 1)"],
        ),
    ],
)
def test_weights_of_any_number_of_classes_lead_to_the_nearest_config(found, called, name, changed):
    chosen = choice.choose(found, called)
    assert (chosen.name, chosen.changed) == (name, changed)
    assert chosen.config.model.head.num_classes == 5
    assert chosen.config.data == config_lib.load(name).data


def test_weights_that_several_configs_read_otherwise_ask_for_one():
    found = found_of("yolact_r101_550")
    with pytest.raises(InputError, match=r"those of yolact_r101_400, .*550, .*700.* by --config"):
        choice.choose(found, "mine")
    assert choice.choose(found, "yolact_im700_54_800000").name == "yolact_r101_700"


def test_names_of_classes_come_from_the_user_the_file_or_coco(tmp_path):
    assert class_names.told({}, 80)[0][79] == config_lib.Category(90, "toothbrush")
    meta = {"meta": {"dataset_meta": {"CLASSES": ("cell", "nucleus")}}}
    assert [one.name for one in class_names.told(meta, 2)[0]] == ["cell", "nucleus"]
    assert class_names.told(meta, 3)[0][2] == config_lib.Category(3, "class 3")
    hostile = {"meta": {"CLASSES": ("a\nb", "c")}}
    assert class_names.told(hostile, 2)[0][0].name == "class 1"
    (tmp_path / "names.txt").write_text("cat\n\nhot dog\n")
    assert [one.name for one in class_names.given(str(tmp_path / "names.txt"), 2)] == [
        "cat",
        "hot dog",
    ]
    coco = tmp_path / "coco.json"
    coco.write_text('{"categories": [{"id": 7, "name": "b"}, {"id": 2, "name": "a"}]}')
    assert class_names.given(str(coco), 2) == (
        config_lib.Category(2, "a"),
        config_lib.Category(7, "b"),
    )
    for text, count, said in (
        ("a,b", 3, "gives 2 names for 3 classes"),
        ("a,a", 2, "has the name 'a' twice"),
    ):
        with pytest.raises(InputError, match=said):
            class_names.given(text, count)
    coco.write_text("[1, {}]")
    with pytest.raises(InputError, match="holds no names"):
        class_names.given(str(coco), 2)
