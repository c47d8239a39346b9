"""Claims about configs: overrides, what is refused, and the way to JSON and back."""

import ast
import dataclasses
import itertools
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flax.linen as nn
import pytest

from solojax import config as config_lib
from solojax import fields
from solojax.config import Augmentation, Category, Config, Data, Optimizer, Training
from solojax.types import InputError
from tests import examples

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.py"))
SHAPES = Path(__file__).parent.parent / "configs" / "shapes.py"


def load_shapes(*overrides: str) -> Config:
    return config_lib.load(SHAPES, overrides)


def value_at(config: Config, path: str) -> object:
    value: object = config
    for name in path.split("."):
        value = getattr(value, name)
    return value


def config_json(**changes: object) -> str:
    """The JSON of a config whose top-level entries are replaced."""
    return json.dumps({**json.loads(config_lib.to_json(load_shapes())), **changes})


def rejected(overrides: list[str]) -> str:
    with pytest.raises(InputError) as caught:
        load_shapes(*overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("training.batch_size=4", "training.batch_size", 4),
        (" training.batch_size =4", "training.batch_size", 4),
        ("training.epochs=12", "training.epochs", 12.0),
        ("optimizer.learning_rate=1e-3", "optimizer.learning_rate", 1e-3),
        ("optimizer.algorithm=sgd", "optimizer.algorithm", "sgd"),
        ("optimizer.schedule='step'", "optimizer.schedule", "step"),
        ("optimizer.decay_norms=True", "optimizer.decay_norms", True),
        ("optimizer.decay_biases=True", "optimizer.decay_biases", True),
        ("optimizer.decay_norms=true", "optimizer.decay_norms", True),
        ("optimizer.decay_norms=false", "optimizer.decay_norms", False),
        ("optimizer.undecayed=['*/offset/bias']", "optimizer.undecayed", ("*/offset/bias",)),
        ("optimizer.rate_factors=[['neck/*', 2]]", "optimizer.rate_factors", (("neck/*", 2.0),)),
        ("optimizer.base_batch_size=0", "optimizer.base_batch_size", 0),
        ("optimizer.clip_norm=0", "optimizer.clip_norm", 0.0),
        ("optimizer.drop_epochs=[8, 11]", "optimizer.drop_epochs", (8.0, 11.0)),
        ("data.root=some/folder", "data.root", "some/folder"),
        ("data.root=a=b", "data.root", "a=b"),
        ("data.root=true", "data.root", "true"),
        ("data.root=~/a", "data.root", os.path.expanduser("~/a")),
        ("data.records=~/a", "data.records", os.path.expanduser("~/a")),
        ("training.pretrained=~/a", "training.pretrained", os.path.expanduser("~/a")),
        ("data.root='2017'", "data.root", "2017"),
        ("data.root=", "data.root", ""),
        ("data.root=[[[", "data.root", "[[["),
        ("data.train_short_sides=(96,)", "data.train_short_sides", (96,)),
        ("data.canvases=[[64, 96], [96, 64]]", "data.canvases", ((64, 96), (96, 64))),
        ("model.head.grid.sizes=(24,16,8)", "model.head.grid.sizes", (24, 16, 8)),
        ("model.head.grid.sizes=[24,16,8]", "model.head.grid.sizes", (24, 16, 8)),
        ("model.head.grid.sigma=1", "model.head.grid.sigma", 1.0),
        ("model.backbone.depth=50", "model.backbone.depth", 50),
        ("model.backbone.norm=frozen_statistics", "model.backbone.norm", "frozen_statistics"),
        ("model.neck.width=64", "model.neck.width", 64),
    ],
)
def test_override_sets_its_field(override: str, path: str, value: object) -> None:
    found = value_at(load_shapes(override), path)
    assert found == value
    assert type(found) is type(value)


def test_items_of_a_list_of_floats_become_floats() -> None:
    drops = load_shapes("optimizer.drop_epochs=[8, 11.5]").optimizer.drop_epochs
    assert [type(drop) for drop in drops] == [float, float]


def test_override_changes_nothing_else() -> None:
    before, after = load_shapes(), load_shapes("model.head.grid.sizes=(24,16,8)")
    assert after != before
    assert config_lib.override(after, "model.head.grid.sizes=(16,12,8)") == before


def test_the_last_of_two_overrides_counts() -> None:
    assert load_shapes("training.steps=1", "training.steps=2").training.steps == 2


TOGETHER = [
    ["model.head.width=20", "model.head.groups=4"],
    [
        "model.head.selection.max_candidates=50",
        "model.head.selection.nms_candidates=30",
        "model.head.selection.max_detections=20",
    ],
    [
        "model.head.grid.levels=('p3','p4')",
        "model.head.grid.strides=(8,16)",
        "model.head.grid.sizes=(12,8)",
        "model.head.grid.scale_ranges=((1,64),(32,512))",
    ],
]


@pytest.mark.parametrize("overrides", TOGETHER, ids=["groups", "caps", "levels"])
def test_overrides_that_go_together_fit_in_any_order(overrides: list[str]) -> None:
    rejected(overrides[:1])  # by itself it does not fit
    config = load_shapes()
    expected = config_lib.override(config, *overrides)
    for text in overrides:
        path, _, value = text.partition("=")
        assert value_at(expected, path) == ast.literal_eval(value)
    for order in itertools.permutations(overrides):
        assert config_lib.override(config, *order) == expected


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.neck=3", "model.neck.width=8"],
        ["model.head.grid=Grid", "model.head.grid.sigma=1"],
        ["training.steps=1", "training.steps.x=2"],
    ],
)
def test_a_whole_and_a_part_of_it_are_refused_in_any_order(overrides: list[str]) -> None:
    first, second = overrides
    whole = first.partition("=")[0].rpartition(".")[2]
    message = f"override {second!r}: {whole} is given as a whole already"
    assert rejected([first, second]) == message
    assert rejected([second, first]) == f"override {first!r}: parts of {whole} are given already"


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("training.batchsize=4", "'batch_size'"),
        ("trainig.batch_size=4", "'training'"),
        ("data.cavases=((64,64),)", "'canvases'"),
        ("model.head.grid.size=(24,16,8)", "'sizes'"),
        ("model.bakbone.depth=50", "'backbone'"),
        ("optimizer.lerning_rate=1", "'learning_rate'"),
    ],
)
def test_unknown_field_names_the_nearest_one(override: str, nearest: str) -> None:
    message = rejected([override])
    assert override in message
    assert f"did you mean {nearest}?" in message


def test_unknown_field_far_from_all_lists_those_there_are() -> None:
    assert "it has model, data, optimizer, training" in rejected(["zzzz=1"])


@pytest.mark.parametrize("override", ["training.batch_size.x=1", "data.root.x=1"])
def test_a_field_of_a_plain_value_is_refused(override: str) -> None:
    assert "which has no fields" in rejected([override])


@pytest.mark.parametrize("override", ["model.parent=1", "model.head.name=x", "model.parent=None"])
def test_fields_that_linen_adds_cannot_be_set(override: str) -> None:
    assert "no field" in rejected([override])


@pytest.mark.parametrize("override", ["training.steps", "", "steps 4"])
def test_override_without_equals_sign_tells_the_form(override: str) -> None:
    assert f"override {override!r} has no '='; write field.path=value" in rejected([override])


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("training.batch_size=four", "int"),
        ("training.batch_size=4.0", "int"),
        ("training.batch_size=True", "int"),
        ("training.epochs=many", "float"),
        ("training.epochs=True", "float"),
        ("optimizer.decay_norms=1", "bool"),
        ("optimizer.decay_biases=1", "bool"),
        ("optimizer.undecayed=neck/*", "tuple"),
        ("optimizer.rate_factors=('neck/*', 2)", "tuple"),
        ("optimizer.rate_factors=(('neck/*', 'slow'),)", "float"),
        ("data.train_short_sides=96", "tuple"),
        ("data.train_short_sides=(96.5,)", "int"),
        ("data.canvases=((64,),)", "tuple"),
        ("data.canvases=((64,64,64),)", "tuple"),
        ("model.head.grid.sizes=abc", "tuple"),
        ("model.neck=3", "Module"),
        ("data={}", "Data"),
        ("data.categories=[(1,'a')]", "Category"),
    ],
)
def test_value_of_the_wrong_type_is_refused(override: str, wanted: str) -> None:
    message = rejected([override])
    assert "is not of type" in message
    assert wanted in message.rpartition("is not of type")[2]


@pytest.mark.parametrize(
    ("override", "choices"),
    [
        ("optimizer.algorithm=adam", "'sgd', 'adamw'"),
        ("optimizer.schedule=1", "'step', 'cosine'"),
        ("model.backbone.norm=batch", "'group'"),
    ],
)
def test_value_outside_of_a_choice_lists_the_choices(override: str, choices: str) -> None:
    assert choices in rejected([override])


@pytest.mark.parametrize("value", ["5", "detector", "None"])
def test_the_model_cannot_be_replaced_by_something_else(value: str) -> None:
    assert "model" in rejected([f"model={value}"])


def test_unhashable_literal_is_an_input_error() -> None:
    rejected(["training.steps={[1]: 2}"])


@pytest.mark.parametrize(
    ("canvas", "nearest"),
    [
        ((100, 128), "96x128"),
        ((128, 120), "128x128"),
        ((16, 16), "32x32"),
        ((800, 1333), "800x1344"),
    ],
)
def test_canvas_that_is_no_multiple_of_32_names_the_nearest(
    canvas: tuple[int, int], nearest: str
) -> None:
    with pytest.raises(InputError, match=f"data.canvases.* of 32 each way; the nearest.*{nearest}"):
        Config(examples.MODEL, Data(canvases=((64, 64), canvas)))


@pytest.mark.parametrize("canvas", [(0, 128), (-32, 64)])
def test_canvas_without_pixels_is_refused(canvas: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="data.canvases.*sides of 1 to 65536 pixels"):
        Data(canvases=((64, 64), canvas))


class Anything(nn.Module):
    """A neck that takes maps of any size."""


def test_what_neck_and_masks_ask_of_a_canvas_is_refused_and_no_more() -> None:
    free = examples.MODEL.clone(neck=Anything())
    assert Config(free, Data(canvases=((36, 100),))).model.canvas_multiple == 4
    with pytest.raises(InputError, match="35x100 is not a multiple of 4 each way.*36x100"):
        Config(free, Data(canvases=((35, 100),)))


def test_stretched_images_have_no_scale_of_their_own() -> None:
    with pytest.raises(InputError, match="data.resize=stretch .* data.augmentation.scale_range"):
        Data(resize="stretch", augmentation=Augmentation(scale_range=(0.5, 2)))


@pytest.mark.parametrize("canvas", [(32, 32), (800, 1344), (8192, 8192), (16384, 16384)])
def test_canvas_that_is_a_multiple_of_32_is_taken(canvas: tuple[int, int]) -> None:
    assert Config(examples.MODEL, Data(canvases=(canvas,))).data.canvases == (canvas,)


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("training.batch_size=0", "training.batch_size=0"),
        ("training.batch_size=-8", "training.batch_size=-8"),
        ("training.log_every=0", "training.log_every=0"),
        ("training.checkpoint_every=0", "training.checkpoint_every=0"),
        ("training.steps=-1", "training.steps=-1"),
        ("training.epochs=0", "training.epochs=0"),
        ("training.evaluate_every=-1", "training.evaluate_every=-1"),
        ("optimizer.learning_rate=0", "optimizer.learning_rate=0"),
        ("optimizer.clip_norm=-1.0", "optimizer.clip_norm=-1.0"),
        ("optimizer.rate_factors=(('neck/*', -1),)", "rate_factors: the factor of 'neck/*' is -1"),
        ("optimizer.ema_decay=1", "optimizer.ema_decay=1"),
        ("optimizer.momentum=1", "optimizer.momentum=1"),
        ("optimizer.warmup_steps=-1", "optimizer.warmup_steps=-1"),
        ("optimizer.warmup_factor=-0.5", "optimizer.warmup_factor=-0.5"),
        ("optimizer.drop_epochs=(-3,)", "optimizer.drop_epochs=(-3.0,)"),
        ("optimizer.drop_epochs=(9,9)", "optimizer.drop_epochs=(9.0, 9.0) must rise"),
        ("training.seed=4294967296", "training.seed=4294967296 must be in 0..4294967295"),
        ("training.steps=2147483648", "training.steps=2147483648 must be in 0..2147483647"),
        ("training.batch_size=" + "1" * 400, "training.batch_size=111"),
        ("data.workers=100000", "data.workers=100000 must be in 0..1024"),
        ("training.batch_size=4194305", "training.batch_size=4194305 must be in 1..4194304"),
        ("data.canvases=((1000000000,128),)", "needs sides of 1 to 65536 pixels"),
        ("model.backbone.width=65537", "backbone.width=65537 must be in 1..65536"),
        ("model.backbone.norm_groups=0", "backbone.norm_groups=0 must be at least 1"),
        ("model.neck.width=65537", "neck.width=65537 must be in 1..65536"),
        ("model.head.depth=101", "head.depth=101 must be in 1..100"),
        ("model.head.selection.nms_candidates=" + "9" * 400, "... must be in 1.."),
        ("model.head.grid.sizes=(8,8,10000)", "head.grid.sizes=(8, 8, 10000) must be in 1..1000"),
        ("model.std=(1,0,1)", "model.std"),
        ("data.canvases=((32768,32768),)", "and no more pixels than 16384x16384"),
        ("optimizer.learning_rate=1e30", "learning_rate=1e+30 must be above 0 and at most 1000"),
        ("optimizer.rate_factors=(('neck/*', 1e30),)", "'neck/*' is 1e+30; it must be in 0.."),
        ("optimizer.weight_decay=1e30", "optimizer.weight_decay=1e+30 must be in 0..1000000"),
        ("model.head.objective.focal_gamma=1e30", "focal_gamma=1e+30 must be in 0..1000000"),
        ("data.augmentation.scale_range=(1,1e30)", "both above 0 and at most 1000"),
        ("optimizer.ema_decay=-0.1", "optimizer.ema_decay=-0.1"),
        ("data.canvases=((100,100),)", "data.canvases"),
        ("model.backbone.depth=19", "depth 19"),
        ("model.head.grid.sizes=(8,8)", "head.grid.sizes"),
    ],
)
def test_number_outside_of_its_range_names_the_field(override: str, field: str) -> None:
    assert field in rejected([override])


@pytest.mark.parametrize(
    "override",
    [
        "training.seed=-1",
        "data.workers=-1",
        "data.max_instances=0",
        "data.canvases=()",
        "data.train_short_sides=()",
        "data.train_short_sides=(0,)",
        "data.test_short_side=0",
        "data.long_side=0",
        "data.augmentation.flip_probability=1.5",
        "data.augmentation.scale_range=(0.5,1e400)",
        "data.augmentation.scale_range=(0,1)",
        "data.augmentation.scale_range=(2,1)",
        "optimizer.base_batch_size=-1",
    ],
)
def test_number_that_would_fail_later_is_refused_at_once(override: str) -> None:
    assert override.partition("=")[0] in rejected([override])


def numbers_in(owner: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each field of a config that holds numbers with a point, alone or in tuples."""
    for name in fields.field_names(owner):
        value, here = getattr(owner, name), f"{path}.{name}" if path else name
        if dataclasses.is_dataclass(value):
            yield from numbers_in(value, here)
        elif "float" in str(fields.hints(type(owner))[name]) and value is not None:
            yield here, value


@pytest.mark.parametrize("name", ["shapes", "shapes_yolact", "shapes_sparseinst", "shapes_solo"])
def test_no_field_takes_a_number_that_is_not_finite(name: str) -> None:
    config = config_lib.load(name)
    found = list(numbers_in(config))
    assert len(found) > 20
    for path, value in found:
        for wrong in ("1e400", "-1e400", "1e39", "1" * 400):
            text = re.sub(r"[0-9.]+(e-?[0-9]+)?", wrong, repr(value), count=1)
            if text == repr(value):
                continue  # an empty tuple
            with pytest.raises(InputError, match="no finite number of 32 bits"):
                config_lib.override(config, f"{path}={text}")


def test_a_value_of_many_lines_or_digits_is_told_in_one_short_line() -> None:
    module = load_shapes().model.head  # flax writes it on fifty lines
    for make in (
        lambda: Config(model=module),
        lambda: dataclasses.replace(load_shapes().model, neck=(module,)),
        lambda: load_shapes("training.steps=" + "1" * 5000),
        lambda: load_shapes("training.steps=" + "1" * 400),
        lambda: load_shapes("x" * 5000 + "=1"),
    ):
        with pytest.raises(InputError) as caught:
            make()
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_missing_config_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.py: no such file"):
        config_lib.load(tmp_path / "nothing.py")


def test_configs_that_come_along_go_by_name() -> None:
    assert config_lib.names() == [path.stem for path in CONFIGS]
    assert config_lib.load("shapes", ["training.steps=3"]) == load_shapes("training.steps=3")


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_name_means_the_same_in_every_folder(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if kind == "folder":
        Path("shapes").mkdir()
    else:
        Path("shapes").write_text("from solojax import config\nconfig = config.load('nuclei')")
        assert config_lib.load("./shapes") == config_lib.load("nuclei")
    assert config_lib.load("shapes") == load_shapes()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("shapez", "config shapez: no such name; did you mean shapes or "),
        ("solov2_r50", "did you mean solov2_r50_fpn_3x or solov2_r50_fpn_1x or "),
        ("zzz", f"config zzz: no such name; by name: {', '.join(p.stem for p in CONFIGS)}"),
        ("mine", "config mine: no such name (the file is ./mine); by name: "),
        ("configs/shapes.py", "config configs/shapes.py: no such file; did you mean shapes or "),
        ("shapes.py", "config shapes.py: no such file; did you mean shapes or "),
        ("mine/shapez", "config mine/shapez: no such file; did you mean shapes or "),
    ],
)
def test_unknown_config_tells_the_nearest_names(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").touch()
    with pytest.raises(InputError) as caught:
        config_lib.load(name)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "config = 3", "Config = None"])
def test_file_without_a_config_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "empty.py"
    path.write_text(text)
    with pytest.raises(InputError, match=r"empty\.py does not define"):
        config_lib.load(path)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_that_comes_along_loads_and_survives_json(path: Path) -> None:
    config = config_lib.load(path)
    text = config_lib.to_json(config)
    again = config_lib.from_json(text, "config.json")
    assert again == config
    assert config_lib.to_json(again) == text


def test_json_keeps_what_is_not_a_default() -> None:
    config = Config(
        model=load_shapes().model,
        data=Data(categories=(Category(7, "Frühstück"), Category(90, "a b")), canvases=((32, 64),)),
        optimizer=Optimizer(
            drop_epochs=(8.0, 11.0),
            learning_rate=0.1 + 0.2,
            rate_factors=(("backbone/layer3_*", 0.1), ("head/*", 2.0)),
            undecayed=("*/offset/bias",),
        ),
        training=Training(epochs=0.5, pretrained="weights.npz"),
    )
    again = config_lib.from_json(config_lib.to_json(config), "config.json")
    assert again == config
    assert again.data.categories == (Category(7, "Frühstück"), Category(90, "a b"))
    assert again.optimizer.learning_rate == 0.1 + 0.2


def test_json_names_classes_as_in_the_runs_there_are() -> None:
    """A run folder outlives the version that wrote it: no class may move."""
    kinds = set(re.findall(r'"type": "(.*)"', config_lib.to_json(load_shapes())))
    assert kinds == {
        "solojax.config.Augmentation",
        "solojax.config.Config",
        "solojax.config.Data",
        "solojax.config.Optimizer",
        "solojax.config.Training",
        "solojax.heads.grid.Grid",
        "solojax.heads.objective.Objective",
        "solojax.heads.selection.Selection",
        "solojax.heads.solov2.SOLOv2",
        "solojax.models.detector.Detector",
        "solojax.models.fpn.FPN",
        "solojax.models.resnet.ResNet",
    }


def test_config_from_json_can_be_overridden() -> None:
    config = config_lib.from_json(config_lib.to_json(load_shapes()), "config.json")
    changed = config_lib.override(config, "model.head.grid.sizes=(24,16,8)")
    assert changed == load_shapes("model.head.grid.sizes=(24,16,8)")


@pytest.mark.parametrize(
    "kind",
    [
        "os.system",
        "subprocess.Popen",
        "fractions.Fraction",
        "dataclasses.Field",
        "solojax",
        "solojax.Config",
        "solojax.config",
        "solojax.config.Nothing",
        "solojax.config.InputError",
        "solojax.config.load",
        "solojax.config.Path",
        "solojax.nothing.Config",
        "solojax..Config",
        "solojax.config.dataclasses.Field",
        "solojax.models.detector.nn.Dense",
        "solojax.data.findings.Finding",
        "solojax.inference.thresholds.Thresholds",
        "../solojax.config.Config",
        "",
    ],
)
def test_json_of_an_unknown_class_is_refused(kind: str) -> None:
    with pytest.raises(InputError, match=r"run/config\.json.*is not a config class"):
        config_lib.from_json(config_json(model={"type": kind}), "run/config.json")


@pytest.mark.parametrize("module", ["trap", "solojax_trap"])
def test_json_of_a_class_elsewhere_imports_nothing(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{module}.py").write_text(
        "import dataclasses, pathlib\n"
        "pathlib.Path(__file__).with_name('sprung').touch()\n"
        "@dataclasses.dataclass\nclass Trap:\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="is not a config class"):
        config_lib.from_json(config_json(model={"type": f"{module}.Trap"}), "config.json")
    assert module not in sys.modules
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("kind", [5, None, ["solojax.config.Data"]])
def test_json_whose_class_name_is_no_string_is_refused(kind: object) -> None:
    with pytest.raises(InputError, match=r"config\.json"):
        config_lib.from_json(config_json(data={"type": kind}), "config.json")


@pytest.mark.parametrize("text", ["", "{", '{"type": "solojax.config.Config"', "not json"])
def test_text_that_is_not_json_is_named(text: str) -> None:
    with pytest.raises(InputError, match=r"run/config\.json is not JSON"):
        config_lib.from_json(text, "run/config.json")


@pytest.mark.parametrize("text", ["[]", "5", "null", '{"type": "solojax.config.Data"}'])
def test_json_that_holds_no_config_is_named(text: str) -> None:
    with pytest.raises(InputError, match=r"run/config\.json does not hold a config"):
        config_lib.from_json(text, "run/config.json")


@pytest.mark.parametrize("root", ["2017", "None", "my=folder", "1e3", "(a)"])
def test_a_folder_may_have_any_name(root: str) -> None:
    assert load_shapes(f"data.root={root}").data.root == root


def test_json_with_a_field_of_another_version_names_class_and_field() -> None:
    data = {"type": "solojax.config.Data", "colour": "blue"}
    with pytest.raises(InputError, match=r"config\.Data of another version.*colour"):
        config_lib.from_json(config_json(data=data), "config.json")


def test_json_with_a_value_out_of_range_is_refused() -> None:
    training = {"type": "solojax.config.Training", "batch_size": 0}
    said = (
        r"config\.Training: training\.batch_size=0 must be at least 1; correct it, or, if another"
    )
    with pytest.raises(InputError, match=said):
        config_lib.from_json(config_json(training=training), "config.json")
    config = load_shapes()
    marked = b"\xef\xbb\xbf" + config_lib.to_json(config).encode()
    assert config_lib.from_json(marked, "config.json") == config


@pytest.mark.parametrize("changes", [{"data": 5}, {"model": 1}, {"training": None}])
def test_json_whose_part_is_of_another_type_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"config\.json"):
        config_lib.from_json(config_json(**changes), "config.json")
