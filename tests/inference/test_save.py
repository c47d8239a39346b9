"""Claims about what goes out: pictures and films that show it, files that programs read back."""

import json
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from etils import epath
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from solojax.config import Category
from solojax.data import annotations, rle
from solojax.inference import save
from solojax.inference.result import Result
from solojax.inference.sources import Inputs
from solojax.types import InputError

CATEGORIES = (Category(1, "circle"), Category(7, "square"))
NOTHING = Inputs([], [], [])


def result_of(masks: list[np.ndarray], size: tuple[int, int] = (20, 30)) -> Result:
    """Detections of scores 0.9, 0.8, ... and classes in turns on a grey image."""
    packed = np.packbits(np.array(masks, np.uint8).reshape(-1, *size), axis=-1)
    return Result(
        image=np.full((*size, 3), 90, np.uint8),
        scores=np.linspace(0.9, 0.0, 10, dtype=np.float32)[: len(masks)],
        labels=np.arange(len(masks), dtype=np.int32) % 2,
        rles=rle.encode_packed(packed, size),
        categories=CATEGORIES,
    )


def box(x0: int, y0: int, x1: int, y1: int, size: tuple[int, int] = (20, 30)) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    mask[y0:y1, x0:x1] = 1
    return mask


TWO = result_of([box(2, 3, 12, 9), box(8, 5, 20, 15)])
NONE = result_of([])


def write(
    out: Path,
    pairs: list[tuple[save.Origin, Result]],
    *forms: str,
    inputs: Inputs = NOTHING,
    overlays: bool = False,
) -> None:
    with save.Files(out, inputs, forms, CATEGORIES, overlays=overlays) as files:
        for origin, result in pairs:
            files.add(origin, result)


def origin(number: int) -> save.Origin:
    return save.Origin(f"in/{number}.jpg", str(number), number)


def frame(number: int, time: float) -> save.Origin:
    return save.Origin("film.mov", "film", number + 1, number, time)


def load(path: Path) -> Any:
    return json.loads(path.read_text())


def names_in(folder: Path) -> set[str]:
    """All that lies in a folder, hidden files too."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_detections_name_the_file_the_class_and_the_box(tmp_path: Path) -> None:
    write(tmp_path, [(origin(5), TWO)], "json")
    (row,) = load(tmp_path / "detections.json")
    first, second = row.pop("detections")
    assert row == {"file": "in/5.jpg", "id": 5, "name": "5", "height": 20, "width": 30}
    assert first.pop("score") == pytest.approx(0.9)
    assert first == {"class": "circle", "category_id": 1, "box": [2, 3, 12, 9], "area": 60}
    assert second.pop("score") == pytest.approx(0.8)
    assert second == {"class": "square", "category_id": 7, "box": [8, 5, 20, 15], "area": 120}


def test_results_are_those_that_pycocotools_loads(tmp_path: Path) -> None:
    write(tmp_path, [(origin(5), TWO), (origin(6), NONE)], "rle")
    truth = COCO()
    truth.dataset = {
        "images": [{"id": i, "height": 20, "width": 30} for i in (5, 6)],
        "categories": [{"id": 1}, {"id": 7}],
        "annotations": [],
    }
    truth.createIndex()
    found = truth.loadRes(str(tmp_path / "results.json"))
    assert [one["area"] for one in found.loadAnns(found.getAnnIds([5]))] == [60, 120]
    assert [one["category_id"] for one in found.dataset["annotations"]] == [1, 7]
    np.testing.assert_array_equal(found.annToMask(found.dataset["annotations"][0]), TWO.masks[0])


def test_id_maps_number_detections_from_one_and_show_better_ones_on_top(tmp_path: Path) -> None:
    write(tmp_path, [(origin(5), TWO)], "png")
    ids = cv2.imread(str(tmp_path / "5.ids.png"), cv2.IMREAD_UNCHANGED)
    assert ids.dtype == np.uint16 and ids.shape == (20, 30)
    wanted = np.where(TWO.masks[0], 1, np.where(TWO.masks[1], 2, 0))
    np.testing.assert_array_equal(ids, wanted)
    assert (ids == 1).sum() == 60 and ids[5, 8] == 1


def blob(seed: int, size: tuple[int, int], smoothness: float) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(size)
    smooth = cv2.GaussianBlur(noise, (0, 0), smoothness)
    return (smooth > smooth.std() / 2).astype(np.uint8)


RING = box(2, 2, 18, 18) - box(6, 6, 14, 14)
MASKS = {
    "pixel": box(4, 4, 5, 5),
    "row": box(0, 7, 30, 8),
    "all": box(0, 0, 30, 20),
    "two parts": box(0, 0, 5, 5) + box(20, 10, 30, 20),
    "touching corners": box(2, 2, 5, 5) + box(5, 5, 9, 9),
    "ring": RING,
    "ring with an island": RING + box(9, 9, 11, 11),
    "two holes": box(1, 1, 29, 19) - box(3, 3, 9, 9) - box(15, 4, 25, 16),
    "diagonal": np.eye(20, 30, dtype=np.uint8),
    **{f"blob {seed}": blob(seed, (61, 83), 1 + seed / 2) for seed in range(6)},
}


@pytest.mark.parametrize("name", MASKS)
def test_polygons_are_filled_to_the_very_mask_again(name: str) -> None:
    mask = MASKS[name]
    (counts,) = rle.encode_packed(np.packbits(mask[None], axis=-1), mask.shape)
    shapes = save.polygons(counts, mask.shape[0])
    assert all(len(shape) >= 6 and len(shape) % 2 == 0 for shape in shapes)
    filled = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(shapes, *mask.shape)))
    np.testing.assert_array_equal(filled, mask)


@pytest.mark.parametrize("name", ["all", "ring", "two holes", "blob 2", "blob 5"])
def test_the_area_within_polygons_is_that_of_the_mask(name: str) -> None:
    mask = MASKS[name]
    (counts,) = rle.encode_packed(np.packbits(mask[None], axis=-1), mask.shape)
    shapes = [np.reshape(shape, (-1, 2)) for shape in save.polygons(counts, mask.shape[0])]
    x, y = np.concatenate([shape - np.roll(shape, 1, 0) for shape in shapes]).T
    area = abs(
        sum(np.sum(s[:, 0] * np.roll(s[:, 1], 1) - s[:, 1] * np.roll(s[:, 0], 1)) for s in shapes)
    )
    bound = save.SLACK * np.hypot(x, y).sum()  # no border lies farther off
    assert abs(area / 2 - mask.sum()) <= min(bound, 0.03 * mask.sum())


def test_a_saved_set_is_one_that_a_training_reads(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name in ("5.jpg", "6.jpg"):
        (images / name).touch()
    ring = result_of([RING, box(20, 10, 30, 20)])
    pairs = [
        (save.Origin(str(images / "5.jpg"), "5", 5), ring),
        (save.Origin(str(images / "6.jpg"), "6", 6), NONE),
    ]
    inputs = Inputs([images / "5.jpg", images / "6.jpg"], [], [])
    write(tmp_path / "out", pairs, "polygons", inputs=inputs)
    path = tmp_path / "out" / "instances.json"
    read = annotations.read(epath.Path(path), epath.Path(images))
    assert read.skipped == {}
    assert read.categories == CATEGORIES
    assert [(image.id, image.height, image.width) for image in read.images] == [
        (5, 20, 30),
        (6, 20, 30),
    ]
    first, second = read.images[0].instances
    assert (first.rle, second.rle) == tuple(ring.rles)
    assert first.box == (2, 2, 18, 18)
    assert first.area == RING.sum()
    assert (first.label, second.label) == (0, 1)
    assert load(path)["info"]["images"] == str(images)


def test_frames_of_a_saved_set_lie_beside_it(tmp_path: Path) -> None:
    pairs = [(frame(0, 0.0), TWO), (frame(1, 0.5), NONE)]
    write(tmp_path, pairs, "polygons", "json", "png", inputs=Inputs([], [Path("film.mov")], []))
    read = annotations.read(epath.Path(tmp_path / "instances.json"), epath.Path(tmp_path))
    assert [str(image.path.relative_to(tmp_path)) for image in read.images] == [
        "film/000000.jpg",
        "film/000001.jpg",
    ]
    picture = cv2.imread(str(tmp_path / "film/000001.jpg"))
    assert picture.shape == (20, 30, 3)
    assert np.abs(picture.astype(int) - 90).max() < 3
    rows = load(tmp_path / "detections.json")
    assert [(row["id"], row["frame"], row["time"]) for row in rows] == [(1, 0, 0.0), (2, 1, 0.5)]
    assert names_in(tmp_path) == {
        "instances.json",
        "detections.json",
        *(f"film/00000{i}.{ending}" for i in (0, 1) for ending in ("jpg", "ids.png")),
    }


def test_nothing_found_is_the_same_structure_with_no_rows(tmp_path: Path) -> None:
    write(tmp_path, [(origin(5), NONE)], *save.FORMS, overlays=True)
    assert [row["detections"] for row in load(tmp_path / "detections.json")] == [[]]
    assert load(tmp_path / "results.json") == []
    instances = load(tmp_path / "instances.json")
    assert [image["id"] for image in instances["images"]] == [5]
    assert instances["annotations"] == []
    assert instances["categories"] == [{"id": 1, "name": "circle"}, {"id": 7, "name": "square"}]
    jsons = {"detections.json", "results.json", "instances.json"}
    assert names_in(tmp_path) == jsons | {"5.png", "5.ids.png"}
    assert not cv2.imread(str(tmp_path / "5.ids.png"), cv2.IMREAD_UNCHANGED).any()


def test_an_overlay_shows_the_masks(tmp_path: Path) -> None:
    write(tmp_path, [(origin(5), TWO), (origin(6), NONE)], overlays=True)
    drawn, plain = (cv2.imread(str(tmp_path / f"{i}.png"))[..., ::-1] for i in (5, 6))
    np.testing.assert_array_equal(drawn, TWO.plot())
    assert (plain == 90).all() and plain.shape == drawn.shape
    assert names_in(tmp_path) == {"5.png", "6.png"}


def test_not_a_number_is_never_written(tmp_path: Path) -> None:
    broken = result_of([box(0, 0, 5, 5)])
    broken.scores[0] = np.nan
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(tmp_path, [(origin(5), broken)], "json")


def test_an_interruption_leaves_whole_files_of_what_came_before(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        with save.Files(tmp_path, NOTHING, save.FORMS, CATEGORIES) as files:
            files.add(origin(5), TWO)
            files.add(frame(0, 0.0), TWO)
            assert not (tmp_path / "detections.json").exists()
            raise KeyboardInterrupt
    assert len(load(tmp_path / "detections.json")) == 2
    assert len(load(tmp_path / "instances.json")["images"]) == 2
    assert len(decode(tmp_path / "film.mp4")) == 1
    assert not [name for name in names_in(tmp_path) if name.endswith(".part")]


def test_an_error_before_the_first_image_leaves_earlier_results_alone(tmp_path: Path) -> None:
    write(tmp_path, [(origin(5), TWO)], "json")
    with pytest.raises(InputError):
        with save.Files(tmp_path, NOTHING, ["json"], CATEGORIES):
            raise InputError("no")
    assert len(load(tmp_path / "detections.json")) == 1
    assert names_in(tmp_path) == {"detections.json"}


def test_inputs_of_which_none_is_readable_leave_earlier_results_alone(tmp_path: Path) -> None:
    write(tmp_path, [(origin(5), TWO)], "json", "rle", "polygons")
    before = {name: (tmp_path / name).read_bytes() for name in names_in(tmp_path)}
    with save.Files(tmp_path, NOTHING, ["json", "rle", "polygons"], CATEGORIES):
        pass
    assert {name: (tmp_path / name).read_bytes() for name in names_in(tmp_path)} == before


def named(*paths: str, videos: tuple[str, ...] = (), webcams: tuple[int, ...] = ()) -> Inputs:
    return Inputs([Path(path) for path in paths], [Path(path) for path in videos], list(webcams))


def test_inputs_of_one_name_get_files_of_their_own() -> None:
    inputs = named("a/1.jpg", "b/1.png", "b/1-2.png", "c/1.jpg", "A/X.png", "b/x.jpg", webcams=(0,))
    assert save.name_outputs(inputs) == ["1", "1-2", "1-2-2", "1-3", "X", "x-2", "webcam0"]


def test_an_id_map_never_takes_the_name_of_an_overlay() -> None:
    assert save.name_outputs(named("a.jpg", "a.ids.jpg")) == ["a", "a.ids-2"]
    assert save.name_outputs(named("a.ids.jpg", "a.jpg")) == ["a.ids", "a-2"]
    assert save.name_outputs(named(videos=("a.mp4", "a.mp4.mov"))) == ["a", "a.mp4-2"]


def test_a_long_name_is_shortened_so_that_its_files_can_be_written(tmp_path: Path) -> None:
    (name,) = save.name_outputs(named("é" * 125 + ".jpg"))
    assert name == "é" * 100
    long = save.Origin("long", name, 1)
    write(tmp_path, [(long, TWO)], "png", overlays=True)
    assert names_in(tmp_path) == {f"{name}.png", f"{name}.ids.png"}


def test_many_inputs_of_one_name_take_no_quadratic_time() -> None:
    names = save.name_outputs(named(*(f"{i}/frame.jpg" for i in range(5000))))
    assert len(set(names)) == 5000


@pytest.mark.parametrize(
    ("inputs", "wanted"),
    [
        (named("000000000139.jpg", "x/285.jpg"), [139, 285]),
        (named("1.jpg", "01.png"), [1, 2]),
        (named("7.jpg", "cat.jpg"), [1, 2]),
        (named("7.jpg", videos=("a.mp4",)), [1]),
        (named("9" * 20 + ".jpg"), [1]),
        (named("²٣.jpg"), [1]),
    ],
)
def test_ids_are_the_numbers_in_the_names_where_those_are_told_apart(
    inputs: Inputs, wanted: list[int]
) -> None:
    assert save.image_ids(inputs) == wanted


def test_forms_are_checked() -> None:
    assert save.check_forms("png, json,png") == ("png", "json")
    assert save.check_forms("") == ()
    with pytest.raises(InputError, match="--save jsn is none of json, rle, polygons, png"):
        save.check_forms("json,jsn")


def test_the_folder_of_an_input_is_no_place_for_overlays(tmp_path: Path) -> None:
    inside = Inputs([tmp_path / "x" / "a.png"], [], [])
    save.check_folder(tmp_path, inside)
    with pytest.raises(InputError, match="is the folder of an input; choose another one"):
        save.check_folder(tmp_path / "y" / ".." / "x", inside)


def decode(path: Path) -> list[tuple[float, np.ndarray]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.pix_fmt == "yuv420p"
        assert container.duration is not None
        frames = [
            (frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)
        ]
        # A player stops at the duration.
        assert frames[-1][0] is not None and container.duration / av.time_base > frames[-1][0]
        return frames


TIMES = [0.0, 0.033, 0.1, 0.11, 0.5, 0.51, 1.2]


@pytest.mark.parametrize("size", [(64, 96), (63, 95)])
def test_a_film_has_the_frames_the_size_and_the_times(
    size: tuple[int, int], tmp_path: Path
) -> None:
    film = save.Film(tmp_path / "film.mp4")
    for number, seconds in enumerate(TIMES):
        picture = np.zeros((*size, 3), np.uint8)
        picture[:, :48] = (250 - 20 * number, 30, 0)
        film.add(picture, seconds)
    assert not (tmp_path / "film.mp4").exists()
    film.close()
    assert names_in(tmp_path) == {"film.mp4"}
    frames = decode(tmp_path / "film.mp4")
    assert [time for time, _ in frames] == pytest.approx(TIMES, abs=1 / save.CLOCK)
    for number, (_, picture) in enumerate(frames):
        assert picture.shape == (64, 96, 3)
        assert np.abs(picture[20, 20].astype(int) - (250 - 20 * number, 30, 0)).max() < 6
        assert picture[-1, -1].max() < 6


def test_a_film_is_laid_out_for_browsers(tmp_path: Path) -> None:
    film = save.Film(tmp_path / "film.mp4")
    film.add(np.zeros((64, 96, 3), np.uint8), 0.0)
    film.close()
    encoded = (tmp_path / "film.mp4").read_bytes()
    assert encoded.index(b"moov") < encoded.index(b"mdat")  # plays while it loads


def test_a_film_goes_on_where_time_does_not_and_where_sizes_change(tmp_path: Path) -> None:
    film = save.Film(tmp_path / "film.mp4")
    for seconds, width in [(0.0, 96), (1.0, 96), (1.0, 48), (0.5, 200)]:
        film.add(np.full((64, width, 3), 200, np.uint8), seconds)
    film.close()
    frames = decode(tmp_path / "film.mp4")
    assert [picture.shape for _, picture in frames] == [(64, 96, 3)] * 4
    assert [time for time, _ in frames] == pytest.approx([0, 1, 1, 1], abs=1e-3)


def test_a_film_without_a_frame_leaves_no_file(tmp_path: Path) -> None:
    save.Film(tmp_path / "film.mp4").close()
    assert names_in(tmp_path) == set()


def test_a_pyav_without_an_encoder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise av.codec.codec.UnknownCodecError("libx264")

    class Container:
        add_stream = staticmethod(refuse)

    monkeypatch.setattr(av, "open", lambda *_, **__: Container())
    with pytest.raises(InputError, match="no encoder for H.264; reinstall it with pip install"):
        save.Film(tmp_path / "film.mp4").add(np.zeros((64, 96, 3), np.uint8), 0.0)
