import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import solojax
from solojax import config as config_lib
from solojax.config import Category
from solojax.inference import thresholds
from solojax.inference.predictor import Predictor
from solojax.inference.result import Result
from solojax.training import checkpoint, optimizer, step
from solojax.training.checkpointer import Checkpoints
from solojax.types import InputError
from tests import examples, wheel
from tests.inference.networks import Bright, Colors

REPLICATE = cv2.BORDER_REPLICATE
CATEGORIES = (Category(3, "cell"), Category(70, "dust"), Category(71, "hair"))
DATA = config_lib.Data(
    categories=CATEGORIES,
    canvases=((64, 96), (96, 64)),
    train_short_sides=(64,),
    test_short_side=64,
    long_side=96,
)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 255, (5, 7, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def make(batch_size: int = 1) -> Predictor:
    return Predictor(Colors(), {"least": np.float32(0)}, DATA, batch_size=batch_size)


@pytest.fixture(scope="module")
def predictor():
    return make()


@pytest.fixture(scope="module")
def trained():
    """What the run of ``save_run`` is to become."""
    return Predictor(examples.MODEL, examples.make_variables(spread=0.3), DATA)


def assert_same(one, other):
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
    np.testing.assert_array_equal(one.labels, other.labels)
    assert (one.masks != other.masks).mean() < 1e-4  # a pixel at the threshold may fall either way


def test_the_package_offers_it():
    assert solojax.Predictor is Predictor
    with pytest.raises(AttributeError, match="no attribute 'Predicter'"):
        _ = solojax.Predicter


def test_a_result_is_in_pixels_of_the_image(predictor):
    image = noise(75, 133)
    result = predictor(image)
    count = len(result)
    assert count > 1 and result.masks.shape == (count, 75, 133) and result.masks.dtype == bool
    assert (np.diff(result.scores) <= 0).all()
    assert set(result.names) <= {"cell", "dust", "hair"}
    assert result.image is image and result.source == ""


def test_boxes_are_tight_around_the_masks(predictor):
    result = predictor(noise(75, 133))
    for mask, (x0, y0, x1, y1), area in zip(result.masks, result.boxes, result.areas, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert (x0, y0, x1, y1) == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        assert area == mask.sum()


def test_a_look_shows_masks_before_they_are_cut(predictor):
    image = noise(75, 133)
    look, result = predictor.look(image), predictor(image)
    np.testing.assert_array_equal(look.scores[: len(result)], result.scores)
    height, width = look.masks.shape[1:]
    assert height - 1 < look.frame[0] <= height and width - 1 < look.frame[1] <= width
    assert look.canvas == (64 / (look.frame[0] * 4), 96 / (look.frame[1] * 4))
    y, x = np.indices((75, 133)) + 0.5
    places = np.dstack([x * look.frame[1] / 133 - 0.5, y * look.frame[0] / 75 - 0.5])
    for soft, mask in zip(look.masks, result.masks, strict=True):
        seen = cv2.remap(soft, np.float32(places), None, cv2.INTER_LINEAR, borderMode=REPLICATE)
        assert ((seen > predictor.mask_threshold) != mask).mean() < 0.02


def test_another_mask_threshold_changes_masks_alone(predictor):
    image = noise(75, 133)
    before, same, fewer = (predictor.at(t)(image) for t in (0.5, 0.5, 0.6))
    assert predictor(image).rles == before.rles == same.rles
    np.testing.assert_array_equal(fewer.scores, before.scores[: len(fewer)])
    assert (fewer.masks <= before.masks[: len(fewer)]).all()
    assert fewer.areas.sum() < before.areas.sum()
    for wrong in (-0.1, 2, float("nan"), "half"):
        with pytest.raises(InputError, match="mask_threshold=.* must be a number in 0..1"):
            predictor.at(wrong)


@pytest.fixture(scope="module")
def predict_bright():
    return Predictor(Bright(), {"least": np.float32(0)}, DATA)


@pytest.mark.parametrize(
    "size", [(64, 96), (96, 64), (75, 133), (133, 75), (31, 47), (701, 901), (1301, 655)]
)
def test_a_mask_lies_where_its_image_shows_it(size, predict_bright):
    height, width = size
    top, bottom, left, right = height // 7, height // 2, width // 3, width - width // 5
    image = np.zeros((*size, 3), np.uint8)
    image[top:bottom, left:right] = 255
    (mask,) = predict_bright(image).masks
    shown = image[..., 0] > 0
    assert (mask & shown).sum() > 0.85 * (mask | shown).sum()
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    ends = np.array(
        [rows[0] - top, rows[-1] + 1 - bottom, columns[0] - left, columns[-1] + 1 - right]
    )
    assert (np.abs(ends) <= 2 * max(height / 64, width / 64)).all()  # half a pixel of the masks


def test_a_path_gives_what_its_pixels_give(predictor, tmp_path):
    image = noise(60, 90)
    path = tmp_path / "noise.png"
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    result = predictor(str(path))
    assert result.source == str(path)
    np.testing.assert_array_equal(result.image, image)
    assert_same(result, predictor(image))


def test_batches_equal_single_images_in_any_order_of_canvases(predictor):
    images = [noise(60, 90, 0), noise(90, 60, 1), noise(64, 80, 2), noise(120, 64, 3), noise(9, 9)]
    together = make(batch_size=2)(images)
    assert [result.size for result in together] == [image.shape[:2] for image in images]
    for image, result in zip(images, together, strict=True):
        assert_same(result, predictor(image))


def test_all_devices_take_their_parts(predictor):
    images = [noise(60, 90, seed) for seed in range(3)]  # of 8, one on each device
    for image, result in zip(images, make(batch_size=8)(images), strict=True):
        assert_same(result, predictor(image))


def test_all_images_of_a_batch_can_come_as_one_array(predictor):
    images = np.stack([noise(60, 90, 0), noise(60, 90, 1)])
    results = predictor(images)
    assert len(results) == 2
    assert_same(results[1], predictor(images[1]))


def test_a_stream_is_read_as_it_is_used(predictor):
    read = []

    def images():
        for seed in range(50):
            read.append(seed)
            yield noise(60, 90, seed)

    stream = predictor.stream(images())
    assert read == []
    next(stream)
    assert len(read) <= 4


def test_each_canvas_compiles_once_for_a_batch_size(compiled):
    images = [noise(60 + seed, 90 - seed, seed) for seed in range(0, 60, 7)]
    with compiled() as programs:
        list(make(batch_size=2).stream(images))
    assert len(programs) == 2 * len(DATA.canvases)  # the network, and the masks


def test_nothing_found_is_a_result_of_no_rows():
    result = Predictor(Colors(), {"least": np.float32(2)}, DATA)(noise(60, 90))
    assert len(result) == 0 and result.names == [] and result.to_coco(1) == []
    assert result.masks.shape == (0, 60, 90) and result.boxes.shape == (0, 4)
    assert result.plot().ndim == 3


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)])
def test_strips_and_points_are_images(size, predict_bright):
    image = np.full((*size, 3), 255, np.uint8)
    (mask,) = predict_bright(image).masks
    assert mask.shape == size and mask.all()


def test_coco_results_name_the_categories_of_the_data(predictor):
    result = predictor(noise(75, 133))
    found = result.to_coco(image_id=9)
    assert len(found) == len(result)
    assert {one["image_id"] for one in found} == {9}
    for one, label, box in zip(found, result.labels, result.boxes, strict=True):
        assert one["category_id"] == CATEGORIES[label].id
        assert one["bbox"] == [box[0], box[1], box[2] - box[0], box[3] - box[1]]
        assert one["segmentation"]["size"] == [75, 133]
        assert isinstance(one["segmentation"]["counts"], str)


def test_supervision_gets_boxes_names_and_whole_masks_that_stay_run_lengths(predictor):
    supervision = pytest.importorskip("supervision")
    result = predictor(noise(75, 133))
    boxes = np.tile(np.array([[8, 8, 9, 9]], np.float32), (len(result), 1))  # a head's, too small
    for one in (result, dataclasses.replace(result, given_boxes=boxes), result.above(1.0)):
        detections = one.to_supervision()
        assert isinstance(detections.mask, supervision.CompactMask) and len(detections) == len(one)
        np.testing.assert_array_equal(detections.mask.to_dense(), one.masks)
        np.testing.assert_array_equal(detections.xyxy, one.boxes)
        np.testing.assert_array_equal(detections.confidence, one.scores)
        np.testing.assert_array_equal(detections.class_id, one.labels)
        assert list(detections.data["class_name"]) == one.names


def test_results_refuse_in_a_line(monkeypatch):
    result = Result(noise(8, 8), np.zeros(0), np.zeros(0, int), [], CATEGORIES)
    with pytest.raises(InputError, match="a score is 'a' where a number"):
        result.above("a")
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(InputError, match=r'pip install "solojax\[supervision\]"'):
        result.to_supervision()


def test_a_score_cuts_off_what_is_below(predictor):
    result = predictor(noise(75, 133))
    middle = float(result.scores[1])
    kept = result.above(middle)
    assert 2 <= len(kept) == len(kept.rles) == len(kept.labels)
    assert (kept.scores >= middle).all()


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)]
)
def test_arrays_that_are_no_images_are_refused(predictor, image):
    with pytest.raises(InputError, match="height, width, 3 in uint8, RGB"):
        predictor(image)


@pytest.mark.parametrize("image", [None, 3, b"a.jpg", [[0, 0, 0]], ["a.jpg"]])
def test_what_is_no_image_is_refused_by_its_type(predictor, image):
    with pytest.raises(InputError, match="an image is of type"):
        predictor([image])


@pytest.mark.parametrize("make_image", [Image.fromarray, jnp.asarray])
def test_images_of_other_libraries_are_taken(predictor, make_image):
    pixels = noise(60, 90)
    expected = predictor(pixels)
    assert_same(predictor(make_image(pixels)), expected)
    (listed,) = predictor([make_image(pixels)])
    assert_same(listed, expected)


def test_all_images_of_a_batch_can_come_from_jax(predictor):
    images = np.stack([noise(60, 90, 0), noise(60, 90, 1)])
    for result, image in zip(predictor(jnp.asarray(images)), images, strict=True):
        assert_same(result, predictor(image))


def test_too_little_memory_is_told_with_what_needs_less(monkeypatch):
    def find(*batch):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")

    small = make()
    network = small._network
    monkeypatch.setattr(network, "_programs", network._programs._replace(find=find))
    with pytest.raises(InputError, match=r"too little memory; lower .* \(max_detections\)"):
        small(noise(60, 90))


def test_a_stream_of_one_path_is_refused(predictor):
    with pytest.raises(InputError, match=r"got photo\.jpg; give them in a list"):
        next(predictor.stream("photo.jpg"))


@pytest.mark.parametrize("size", [0, 2.0])
def test_a_batch_size_that_is_none_is_refused(size):
    with pytest.raises(InputError, match=f"batch_size={size} must be a whole number"):
        make(batch_size=size)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a run folder"):
        Predictor.from_run(tmp_path)


def save_run(folder: Path, categories: tuple[Category, ...]) -> dict[str, Any]:
    """A run folder of one checkpoint; returns the variables in it that are to be used."""
    optimizer_config = config_lib.Optimizer(ema_decay=0.9)
    config = config_lib.Config(
        examples.MODEL,
        data=dataclasses.replace(DATA, categories=categories),
        optimizer=optimizer_config,
    )
    (folder / checkpoint.CONFIG).write_text(config_lib.to_json(config))
    variables = examples.make_variables(spread=0.3)
    schedule = optimizer.make_schedule(optimizer_config, batch_size=8, steps=1, steps_per_epoch=1)
    tx = optimizer.make_optimizer(optimizer_config, schedule, examples.MODEL)
    blank = examples.make_variables(spread=0.0)
    state = step.start_state(blank, tx, ema=True)
    state = state._replace(ema={**state.ema, "params": variables["params"]}, step=np.int32(3))
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(3, state)
    return variables


def test_a_run_folder_is_all_it_needs(tmp_path, trained):
    save_run(tmp_path, CATEGORIES)
    thresholds.save(tmp_path, {"score": 0.5, "classes": []}, step=3, images=1)
    result = Predictor.from_run(tmp_path, 3)(noise(60, 90))
    assert result.least_scores.tolist() == [0.5] * len(CATEGORIES)
    assert len(result), "the averages find something, the parameters nothing"
    assert_same(result, trained(noise(60, 90)))
    assert result.categories == CATEGORIES


def test_a_run_that_names_no_categories_is_refused(tmp_path):
    save_run(tmp_path, ())
    with pytest.raises(InputError, match="names 0 categories and its network knows 3"):
        Predictor.from_run(tmp_path)


@pytest.mark.slow
def test_the_command_of_a_wheel_finds_what_the_predictor_finds(tmp_path, trained):
    site, run = tmp_path / "site", tmp_path / "run"
    wheel.install(site)
    run.mkdir()
    save_run(run, CATEGORIES)
    image = noise(60, 90)
    cv2.imwrite(str(tmp_path / "noise.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    options = ["--run", "run", "--out", "out", "--score", "0", "--save", "json,rle,polygons,png"]
    made_of = wheel.run(site, "predict", "noise.png", *options, cwd=tmp_path)
    (told,) = json.loads((tmp_path / "out/detections.json").read_text())
    expected = trained(image)
    assert [one["class"] for one in told["detections"]] == expected.names
    scores = [one["score"] for one in told["detections"]]
    np.testing.assert_allclose(scores, expected.scores, atol=1e-5)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    files = {"detections.json", "results.json", "instances.json", "noise.png", "noise.ids.png"}
    assert names == files

    assert made_of["package"] == str(site / "solojax/__init__.py"), "that of the clone"
    assert made_of["versions"] == [solojax.__version__] * 2
    assert made_of["config"] == config_lib.to_json(config_lib.load("solov2_r50_fpn_3x"))
    for path in (wheel.ROOT / "solojax").rglob("*.*"):
        if "__pycache__" not in path.parts:
            assert (site / path.relative_to(wheel.ROOT)).exists()
