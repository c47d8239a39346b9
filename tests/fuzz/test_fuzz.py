"""Whatever a file holds, it is read, or refused in one line: no other error, no crash, no hang.

A bounded share runs each time, always the same; SOLOJAX_FUZZ=10000 runs as
many of each, drawn anew:

    SOLOJAX_FUZZ=10000 python -m pytest -n 2 tests/fuzz
"""

import functools
import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from solojax import config as config_lib
from solojax.config import overrides
from solojax.convert import containers, safetensors, state_dict
from solojax.data import annotations, rle
from solojax.data.annotations import segmentations
from solojax.data.findings import Findings
from solojax.data.foreign import labelme, yolo
from solojax.data.images import files as image_files
from solojax.evaluation import results
from solojax.evaluation.results import truths
from solojax.models.detector import Detector
from solojax.training import checkpoint
from solojax.types import InputError
from tests.fuzz.hostile import VALUES, damage, damaged, spoilt
from tests.training.test_checkpoint import make_state, read_arrays, save_all

MANY = int(os.environ.get("SOLOJAX_FUZZ", "0"))


def fuzz(count: int) -> Callable:
    """``count`` inputs each time, or as many as were asked for."""
    return settings(
        max_examples=MANY or count,
        derandomize=not MANY,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def outcome(read: Callable[[], Any]) -> Any:
    """What is read, or None where it is refused in one line."""
    try:
        return read()
    except InputError as error:
        assert str(error)
        assert len(str(error).splitlines()) == 1, str(error)
        return None


HEIGHT, WIDTH = 8, 9
RLE = {"size": [HEIGHT, WIDTH], "counts": "81230000]1"}
COCO = {
    "images": [
        {"id": 1, "file_name": "1.png", "height": HEIGHT, "width": WIDTH},
        {"id": 7, "file_name": "b/2.png", "height": HEIGHT, "width": WIDTH},
    ],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 7.5, 1, 4, 6.5]]},
        {
            "id": 2,
            "image_id": 7,
            "category_id": 3,
            "segmentation": {"size": [HEIGHT, WIDTH], "counts": [10, 5, 57]},
            "area": 5,
            "bbox": [1, 2, 1, 5],
            "iscrowd": 1,
        },
        {"id": 3, "image_id": 1, "category_id": 3, "segmentation": RLE},
    ],
    "categories": [{"id": 1, "name": "disk"}, {"id": 3, "name": "ring"}],
}
RESULTS = [
    {"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": [[1, 1, 7.5, 1, 4, 6.5]]},
    {"image_id": 7, "category_id": 3, "score": 1, "segmentation": RLE, "file_name": "b/2.png"},
    {"image_id": 7, "category_id": 3, "score": 0.1, "bbox": [1, 2, 1, 5]},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fuzz")
    (root / "b").mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(root / "1.png")
    Image.new("RGB", (3 * WIDTH, 3 * HEIGHT)).save(root / "b" / "2.png")  # another than is stated
    return root


def check_annotations(found: annotations.Annotations | None) -> None:
    for image in found.images if found else ():
        for instance in image.instances:
            assert rle.add_up([instance.rle], [image.height * image.width]).all()
            assert np.isfinite([*instance.box, instance.area, *instance.center]).all()


@given(content=spoilt(COCO), faults=st.sampled_from(["fail", "skip", "repair"]))
@fuzz(200)
def test_annotations_of_any_values(folder: Path, content: Any, faults: str) -> None:
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    data = config_lib.Data(faults=faults, most_skipped=1, boxes_as_masks=faults == "repair")
    check_annotations(outcome(lambda: annotations.read(path, folder, data=data)))


@given(content=damaged(json.dumps(COCO).encode(), json.dumps(COCO, indent=1).encode("utf-16")))
@fuzz(150)
def test_annotations_of_any_bytes(folder: Path, content: bytes) -> None:
    path = folder / "instances.json"
    path.write_bytes(content)
    check_annotations(outcome(lambda: annotations.read(path, folder)))


@given(content=spoilt(RESULTS))
@fuzz(150)
def test_results_of_any_values(folder: Path, content: Any) -> None:
    path = folder / "truth.json"
    path.write_text(json.dumps(COCO))
    truth = truths.read(path, Findings())
    found = folder / "results.json"
    found.write_text(json.dumps(content))
    outcome(lambda: results.read(found, truth, Findings(), truth_path=path))


@given(segmentation=spoilt([[1, 1, 7.5, 1, 4, 6.5], [0.0, 3, 8, 3, 8, 4]]) | spoilt(RLE) | VALUES)
@fuzz(300)
def test_segmentations(segmentation: Any) -> None:
    try:
        found = segmentations.to_rle(segmentation, HEIGHT, WIDTH)
    except segmentations.NoMaskError as error:
        assert len(str(error).splitlines()) == 1
        return
    assert coco_mask.decode(found).shape == (HEIGHT, WIDTH)
    assert rle.add_up([found["counts"]], [HEIGHT * WIDTH]).all()


@given(counts=st.lists(st.binary(max_size=12) | st.just(b"81230000]1"), max_size=4))
@fuzz(300)
def test_run_lengths(counts: list[bytes]) -> None:
    fit = rle.add_up(counts, [HEIGHT * WIDTH] * len(counts))
    assert fit.shape == (len(counts),)
    for one, fits in zip(counts, fit, strict=True):
        if fits:
            area = rle.decode([one], HEIGHT, WIDTH).sum()
            assert area == coco_mask.area({"size": [HEIGHT, WIDTH], "counts": one})


def encoded(form: str, **options: Any) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form, **options)
    return stream.getvalue()


FILES = [
    *map(encoded, ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP", "PPM")),
    encoded("TIFF", compression="tiff_lzw"),
    encoded("JPEG", progressive=True),
]


@given(content=damaged(*FILES) | st.binary(max_size=40))
@fuzz(300)
def test_images(content: bytes) -> None:
    found = image_files.decode_image(content)
    if found is None:
        assert len(image_files.describe_fault(content).splitlines()) == 1
    else:
        assert found.dtype == np.uint8 and found.ndim == 3 and found.shape[-1] == 3


@functools.cache
def run_json() -> dict[str, Any]:
    return json.loads(config_lib.to_json(config_lib.load("shapes")))


@given(content=st.deferred(lambda: spoilt(run_json())))
@fuzz(150)
def test_configs_of_runs(content: Any) -> None:
    outcome(lambda: config_lib.from_json(json.dumps(content), "config.json"))


@given(content=st.deferred(lambda: damaged(json.dumps(run_json()).encode())))
@fuzz(100)
def test_configs_of_runs_of_any_bytes(content: bytes) -> None:
    outcome(lambda: config_lib.from_json(content.decode(errors="replace"), "config.json"))


NAMES = [
    "training.steps",
    "model.head.grid.sizes",
    "data.canvases",
    "optimizer",
    "training.seed",
    "x",
]


@given(
    name=st.sampled_from(NAMES) | st.text(max_size=5),
    value=VALUES.map(repr)
    | st.text(max_size=12)
    | st.sampled_from(["9" * 5000, "(" * 300, "{", "\0"]),
)
@fuzz(300)
def test_overrides(name: str, value: str) -> None:
    outcome(lambda: overrides.override(config_lib.load("shapes"), f"{name}={value}"))


LABELME = {
    "version": "5.0",
    "imagePath": "1.png",
    "imageData": None,
    "shapes": [
        {"label": "disk", "points": [[1, 1], [7.5, 1], [4, 6.5]], "shape_type": "polygon"},
        {"label": "ring", "points": [[1, 1], [7, 6]], "shape_type": "rectangle", "group_id": 3},
        {"label": "ring", "points": [[4, 4], [6, 4]], "shape_type": "circle"},
    ],
}


@given(content=spoilt(LABELME))
@fuzz(150)
def test_labelme(tmp_path_factory: pytest.TempPathFactory, folder: Path, content: Any) -> None:
    source = folder / "labelme"
    source.mkdir(exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(source / "1.png")
    (source / "1.json").write_text(json.dumps(content))
    outcome(lambda: labelme.read(source))


LINES = b"0 0.1 0.1 0.9 0.1 0.5 0.8\n1 0.2 0.2 0.6 0.2 0.6 0.6 0.2 0.6\n"
SETS = b"path: .\ntrain: images/train\nval: images/val\nnames:\n  0: disk\n  1: ring\n"


@given(lines=damaged(LINES), about=damaged(SETS))
@fuzz(150)
def test_yolo(folder: Path, lines: bytes, about: bytes) -> None:
    source = folder / "yolo"
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (source / kind / split).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(source / "images" / split / "1.png")
        (source / "labels" / split / "1.txt").write_bytes(lines)
    (source / "data.yaml").write_bytes(about)
    outcome(lambda: yolo.read(source))


@functools.cache
def detector() -> Detector:
    return config_lib.load("shapes").model


@given(
    weights=st.dictionaries(
        st.sampled_from(["backbone.conv1.weight", "backbone.bn1.weight", "neck.x", ""])
        | VALUES.filter(lambda value: isinstance(value, str | int | float)),
        VALUES | st.just(np.ones((1, 1, 1, 1), np.float32)) | st.just(np.zeros(16)),
        max_size=4,
    )
)
@fuzz(30)
def test_state_dicts(weights: dict[Any, Any]) -> None:
    outcome(lambda: state_dict.load_state_dict(weights, detector()))


@functools.cache
def files_of_weights() -> tuple[bytes, ...]:
    """Torch's new form and old, Paddle's, a pickle of each kind, .npz and safetensors."""
    folder = Path(__file__).parents[1] / "fixtures"
    names = ("torch.pth", "torch_legacy.pth", "paddle_bfloat16.pdparams")
    arrays = {"a": np.ones((2, 3), np.float32), "b": np.arange(3)}
    pickles = [pickle.dumps({"model": arrays, "n": np.int64(4)}, p) for p in (0, 2, 5)]
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    files = [(folder / name).read_bytes() for name in names]
    return (*files, *pickles, packed.getvalue(), safetensors.written(arrays))


def weights_in(path: Path) -> None:
    found = outcome(lambda: containers.state_dict_of(containers.read(path)))
    for name, array in found.arrays.items() if found else ():
        assert isinstance(name, str) and array.dtype.kind in "fiubc"
        array.astype(np.float32 if array.dtype.kind != "c" else np.complex64).sum()


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@given(content=st.deferred(lambda: damaged(*files_of_weights())))
@fuzz(150)
def test_files_of_weights(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "weights"
    path.write_bytes(content)
    weights_in(path)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@given(how=damage(), place=st.integers(0, 8))
@fuzz(100)
def test_members_of_torchs_archives(
    tmp_path_factory: pytest.TempPathFactory, how: Any, place: int
) -> None:
    """Damage that the check sums of an archive agree with."""
    path = tmp_path_factory.getbasetemp() / "weights.pth"
    with zipfile.ZipFile(io.BytesIO(files_of_weights()[0])) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = list(members)[max(place - 4, 0)]  # most often the pickle
    with zipfile.ZipFile(path, "w") as archive:
        for each, content in members.items():
            archive.writestr(each, how(content) if each == name else content)
    weights_in(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("run")
    save_all(workdir, {1: 0.5, 2: None})
    return workdir


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@given(place=st.floats(0, 1, exclude_max=True), how=damage())
@fuzz(15)
def test_checkpoints(
    run: Path, tmp_path_factory: pytest.TempPathFactory, place: float, how: Any
) -> None:
    workdir = shutil.copytree(run, tmp_path_factory.mktemp("spoilt") / "run")
    files = sorted(path for path in (workdir / "checkpoints" / "2").rglob("*") if path.is_file())
    file = files[int(place * len(files))]
    file.write_bytes(how(file.read_bytes()))
    found = outcome(lambda: read_arrays(workdir))
    shutil.rmtree(workdir.parent)
    # The one before is sound, and no array is taken that is not what was written.
    step, arrays = found
    expected = checkpoint.by_name(make_state(step).ema)
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected[name])
