"""A scene written in each of the other forms, and how an import of it is read back."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from pycocotools import mask as coco_mask

from solojax import config
from solojax.data import annotations, foreign, rle
from solojax.data.annotations.left_out import OF_IMPORT, Faults
from solojax.data.foreign import contents, write
from solojax.data.foreign.contents import Split
from solojax.types import InputError

HEIGHT, WIDTH = 48, 64
TRIANGLE = [[5.0, 5.0], [30.5, 8.0], [12.0, 30.25]]
BOX = [[40.0, 10.0], [60.0, 10.0], [60.0, 25.0], [40.0, 25.0]]  # clockwise from the upper left
CIRCLE = [[40.0, 36.0], [50.0, 36.0]]  # its centre, and a point on it


# The scene and its forms


def png(seed: int = 0, size: tuple[int, int] = (HEIGHT, WIDTH), end: str = ".png") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    return cv2.imencode(end, pixels)[1].tobytes()


def put(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def put_ids(path: Path, ids: np.ndarray) -> Path:
    return put(path, cv2.imencode(".png", ids)[1].tobytes())


def shape(label: str, points: Any, kind: str | None = "polygon", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, **more}


def put_drawing(path: Path, *shapes: dict, image: bytes | None = None, **more: Any) -> Path:
    """A labelme file, and its image beside it unless ``image`` is empty."""
    if image != b"":
        put(path.with_suffix(".png"), image or png())
    content = {"shapes": shapes, "imagePath": f"{path.stem}.png", "imageData": None, **more}
    return put(path, json.dumps(content))


def yolo_line(index: int, points: list[list[float]]) -> str:
    scaled = (np.array(points) / [WIDTH, HEIGHT]).ravel()
    return " ".join(map(str, [index, *scaled.tolist()]))


def put_yolo(root: Path, lines: str | None = None, **changes: Any) -> Path:
    about = {"path": ".", "train": "images/train", "val": "images/val", "names": ["cat", "dog"]}
    about = {k: v for k, v in {**about, **changes}.items() if v is not None}
    put(root / "data.yaml", yaml.safe_dump(about))
    for seed, split in enumerate(("train", "val")):
        put(root / f"images/{split}/a.png", png(seed))
        both = f"{yolo_line(0, TRIANGLE)}\n{yolo_line(1, BOX)}\n"
        put(root / f"labels/{split}/a.txt", both if lines is None else lines)
    return root


def blobs(*values: int, dtype: type = np.uint16) -> np.ndarray:
    """Ids in touching blobs of odd outlines, background between some of them."""
    noise = cv2.GaussianBlur(np.random.default_rng(1).random((HEIGHT, WIDTH)), (0, 0), 4)
    rank = np.argsort(np.argsort(noise.ravel())).reshape(noise.shape)
    return np.array([0, *values], dtype)[rank * (len(values) + 1) // rank.size]


def put_city(root: Path, ids: np.ndarray, split: str = "train", city: str = "ulm") -> Path:
    frame = f"{split}/{city}/{city}_000000_000019"
    put(root / f"leftImg8bit/{frame}_leftImg8bit.png", png())
    put_ids(root / f"gtFine/{frame}_gtFine_instanceIds.png", ids)
    put_ids(root / f"gtFine/{frame}_gtFine_labelIds.png", ids)
    return root


def put_pairs(root: Path, ids: np.ndarray, stem: str = "a") -> Path:
    put(root / f"images/{stem}.jpg", png(end=".jpg"))
    put_ids(root / f"masks/{stem}.png", ids)
    return root


def lvis_json(**changes: Any) -> dict[str, Any]:
    flat = np.ravel(TRIANGLE).tolist()
    return {
        "info": {"version": "v1", "description": "LVIS"},
        "licenses": [{"id": 1, "name": "by"}],
        "images": [
            {
                "id": 397133,
                "coco_url": "http://images.cocodataset.org/val2017/000000397133.jpg",
                "height": HEIGHT,
                "width": WIDTH,
                "neg_category_ids": [7],
                "not_exhaustive_category_ids": [3],
            }
        ],
        "annotations": [
            {
                "id": 12,
                "image_id": 397133,
                "category_id": 1203,
                "segmentation": [flat],
                "bbox": [5.0, 5.0, 25.5, 25.25],
                "area": 290.5,
            }
        ],
        "categories": [
            {"id": 1203, "name": "zucchini", "frequency": "c", "synset": "courgette.n.02"},
            {"id": 7, "name": "aerosol_can", "frequency": "r", "synset": "aerosol.n.02"},
        ],
        **changes,
    }


def put_lvis(root: Path, content: dict[str, Any] | None = None, split: str = "val") -> Path:
    put(root / f"lvis_v1_{split}.json", json.dumps(content or lvis_json()))
    put(root / "val2017/000000397133.jpg", png(end=".jpg"))
    return root


def put_cvat(root: Path, shapes: str | None = None, **attributes: str) -> Path:
    """An XML with one image, its shapes those given, or the triangle as a cat, the box as a dog."""
    if shapes is None:
        points = ";".join(f"{x},{y}" for x, y in TRIANGLE)
        (x0, y0), (x1, y1) = BOX[0], BOX[2]
        shapes = (
            f'<polygon label="cat" points="{points}" occluded="0"/>'
            f'<box label="dog" xtl="{x0}" ytl="{y0}" xbr="{x1}" ybr="{y1}" occluded="0"/>'
        )
    about = {"id": "0", "name": "a.png", "width": str(WIDTH), "height": str(HEIGHT), **attributes}
    image = " ".join(f'{key}="{value}"' for key, value in about.items())
    labels = "".join(f"<label><name>{name}</name></label>" for name in ("dog", "cat"))
    put(root / "images" / about["name"], png())
    return put(
        root / "annotations.xml",
        f'<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta><task>'
        f"<labels>{labels}</labels></task></meta><image {image}>{shapes}</image></annotations>",
    ).parent


def percent(points: list[list[float]]) -> list[list[float]]:
    return (np.array(points) * 100 / [WIDTH, HEIGHT]).tolist()


def studio(kind: str, value: dict[str, Any], *labels: str, **more: Any) -> dict[str, Any]:
    """A result of Label Studio."""
    value = {**value, **({f"{kind}labels": labels} if labels else {})}
    sides = {"original_width": WIDTH, "original_height": HEIGHT}
    return {"id": "r", "type": f"{kind}labels", "value": value, **sides, **more}


def put_studio(root: Path, *results: dict[str, Any], **changes: Any) -> Path:
    results = results or (
        studio("polygon", {"points": percent(TRIANGLE)}, "cat"),
        studio("polygon", {"points": percent(BOX)}, "dog"),
    )
    task = {
        "id": 7,
        "data": {"image": "/data/upload/1/0a1b2c3d-a.png"},
        "annotations": [{"id": 1, "was_cancelled": False, "result": results}],
        **changes,
    }
    put(root / "images/a.png", png())
    return put(root / "project.json", json.dumps([task])).parent


def via(kind: str, label: Any = "cat", **numbers: Any) -> dict[str, Any]:
    attributes = {} if label is None else {"class": label}
    return {"shape_attributes": {"name": kind, **numbers}, "region_attributes": attributes}


def put_via(root: Path, *regions: dict[str, Any], project: bool = False) -> Path:
    x, y = np.transpose(TRIANGLE).tolist()
    regions = regions or (
        via("polygon", all_points_x=x, all_points_y=y),
        via("rect", "dog", x=40, y=10, width=20, height=15),
    )
    content: Any = {"a.png99": {"filename": "a.png", "size": 99, "regions": regions}}
    content = {"_via_settings": {}, "_via_img_metadata": content} if project else content
    put(root / "a.png", png())
    return put(root / "via.json", json.dumps(content)).parent


def put_coco(root: Path, names: str = "a", folder: str = "train") -> Path:
    """Roboflow's layout: the JSON beside its images, each with a triangle and a box."""
    images, instances = [], []
    for number, name in enumerate(names, 7):
        put(root / folder / f"{name}.png", png(number))
        images.append({"id": number, "file_name": f"{name}.png", "width": WIDTH, "height": HEIGHT})
        for points in (TRIANGLE, BOX):
            low, extent = np.min(points, 0), np.ptp(points, 0)
            instances.append(
                {
                    "id": 50 + len(instances),
                    "image_id": number,
                    "category_id": 3,
                    "segmentation": [np.ravel(points).tolist()],
                    "bbox": [*low, *extent],
                    "area": float(extent.prod()),
                    "iscrowd": 0,
                }
            )
    content = {
        "images": images,
        "annotations": instances,
        "categories": [{"id": 3, "name": "cat", "supercategory": "none"}],
    }
    return put(root / folder / "_annotations.coco.json", json.dumps(content)).parents[1]


def put_supervisely(root: Path, *objects: dict[str, Any], dataset: str = "ds") -> Path:
    objects = objects or (
        {
            "classTitle": "cat",
            "geometryType": "polygon",
            "points": {"exterior": TRIANGLE, "interior": []},
        },
        {"classTitle": "dog", "geometryType": "rectangle", "points": {"exterior": BOX[::2]}},
    )
    classes = [{"title": name, "shape": "any"} for name in ("dog", "cat")]
    put(root / "meta.json", json.dumps({"classes": classes}))
    put(root / dataset / "img/a.png", png())
    content = {"size": {"height": HEIGHT, "width": WIDTH}, "objects": objects}
    put(root / dataset / "ann/a.png.json", json.dumps(content))
    return root


# Reading back


def bring(form: str, source: Path, out: Path, faults: Faults | None = None, **options: Any) -> None:
    write.write(foreign.read(form, source, faults or contents.STRICT, **options), out)


def lenient(most_skipped: float) -> Faults:
    return Faults(config.Data(faults="skip", most_skipped=most_skipped), OF_IMPORT)


def read(out: Path, split: str = "train") -> annotations.Annotations:
    return annotations.read(out / f"annotations/instances_{split}.json", out / "images")


def raw(out: Path, split: str = "train") -> dict[str, Any]:
    return json.loads((out / f"annotations/instances_{split}.json").read_bytes())


def masks(image: annotations.Image) -> np.ndarray:
    return rle.decode([i.rle for i in image.instances], image.height, image.width)


def drawn(points: list[list[float]], size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    return coco_mask.decode(coco_mask.frPyObjects([np.ravel(points).tolist()], *size))[..., 0]


def content_of(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def found_in(split: Split, effect: str) -> dict[str, int]:
    return {f.what: f.count for f in split.findings if f.effect == effect}


def lost(split: Split) -> dict[str, int]:
    return {
        what.removeprefix("instances skipped: "): n for what, n in found_in(split, "lost").items()
    }


def refusal(form: str, source: Path, **options: Any) -> str:
    """The one line of an import that fails; nothing has been written then."""
    out = source.parent / "refused"
    with pytest.raises(InputError) as caught:
        bring(form, source, out, **options)
    assert not out.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def put_any(form: str, source: Path) -> Path:
    match form:
        case "labelme":
            put_drawing(source / "a.json", shape("cat", TRIANGLE), shape("cat", [[1, 1]], "point"))
        case "yolo":
            put_yolo(source)
        case "cityscapes":
            put_city(source, blobs(24000, 26001, 26))
        case "lvis":
            put_lvis(source)
        case "cvat":
            put_cvat(source)
        case "label_studio":
            put_studio(source)
        case "via":
            put_via(source)
        case "supervisely":
            put_supervisely(source)
        case "coco":
            put_coco(source)
        case _:
            put_pairs(source, blobs(3, 8, 700))
    return source
