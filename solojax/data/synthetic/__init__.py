"""Draws the "shapes" data set: textured toys on textured ground, as an ordinary COCO folder.

Beside the instances are label maps, as COCO's panoptic sets have them: the ground's texture is the
stuff of a picture. Colour and texture are drawn without looking at the class, so that only the
outline tells the classes apart, and shapes overlap, so that the masks are worth learning.
"""

import json
import multiprocessing
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask
from tqdm import tqdm

from solojax import writing
from solojax.data import panoptic_ids
from solojax.data.synthetic.layout import CLASSES, MIN_SIZE, lay_out
from solojax.data.synthetic.painting import paint
from solojax.data.synthetic.textures import NAMES
from solojax.types import InputError

DESCRIPTION = "solojax shapes"  # marks a JSON file as ours: only such a file is ever replaced
JOURNAL = "annotations/drawing_shapes.json"  # there until all pictures are
DRAWING_VERSION = 1  # raise it with any change to the pictures, so that old folders are redrawn
JPEG_QUALITY = 90  # no visible blocks, about 7 kB per 128 px picture
CHUNK = 16  # pictures per message to a worker: about 0.1 s of work
GROUND = 1  # id of the segment that is the ground; shapes follow

Drawn = tuple[list[dict[str, Any]], dict[str, Any]]
"""The annotations of a picture, yet without ids, and its panoptic one."""


def draw_image(index: int, *, split: str, number: int, root: Path, size: int, seed: int) -> Drawn:
    """Draws and saves image `index` of split `number` and its label map."""
    rng = np.random.default_rng((seed, number, index))
    shapes, visible = lay_out(rng, size)
    painted, ground = paint(rng, shapes, size)
    picture = cv2.cvtColor(painted, cv2.COLOR_RGB2BGR)
    path = root / "images" / split / f"{index:06d}.jpg"
    # Full colour resolution (4:4:4): halved, it would smear the edges of such small pictures.
    full = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    if not cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, *full]):
        raise OSError(f"could not write {path}")
    annotations = []
    for shape, mask in zip(shapes, visible, strict=True):
        rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
        annotations.append({
            "image_id": index,
            "category_id": shape.label + 1,
            "segmentation": {"size": [size, size], "counts": rle["counts"].decode("ascii")},
            "bbox": list(cv2.boundingRect(mask.astype(np.uint8))),
            "area": int(mask.sum()),
            "iscrowd": 0,
        })  # fmt: skip
    ids = np.full((size, size), GROUND, np.int32)
    segments: list[dict[str, Any]] = [{"id": GROUND, "category_id": len(CLASSES) + ground + 1}]
    for place, (shape, mask) in enumerate(zip(shapes, visible, strict=True), GROUND + 1):
        ids[mask] = place
        segments.append({"id": place, "category_id": shape.label + 1})
    for segment in segments:
        mask = ids == segment["id"]
        box = list(cv2.boundingRect(mask.astype(np.uint8)))
        segment |= {"iscrowd": 0, "bbox": box, "area": int(mask.sum())}
    name = f"{index:06d}.png"
    png = root / "annotations" / f"panoptic_{split}" / name
    png.write_bytes(panoptic_ids.to_png(ids))
    return annotations, {"image_id": index, "file_name": name, "segments_info": segments}


def read_info(path: Path) -> dict[str, Any] | None:
    """Returns the "info" of our JSON file, None if there is none; a foreign file is an error."""
    if not path.exists():
        return None
    try:
        info = json.loads(path.read_text())["info"]
        counts = [info["arguments"][split] for split in ("train", "val")]
        ours = info["description"] == DESCRIPTION and all(type(count) is int for count in counts)
    except (ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise InputError(f"{path} is not a '{DESCRIPTION}' file; choose another folder")
    return dict(info)


def check_pictures(root: Path, counts: dict[str, int]) -> dict[str, int]:
    """How many pictures of each split are of this set, finished or begun.

    Raises:
      InputError: one of ``counts`` would be drawn over a file that is not.
    """
    lists = {split: root / "annotations" / f"instances_{split}.json" for split in counts}
    infos = [info for info in map(read_info, [*lists.values(), root / JOURNAL]) if info]
    ours = {}
    for split, count in counts.items():
        known = [info["arguments"][split] for info in infos]
        ours[split] = max(known, default=0)
        # A list follows its pictures, at once but for the clock of a file system.
        changed = lists[split].stat().st_mtime + 2 if lists[split].exists() else float("inf")
        folder = root / "images" / split
        for picture in sorted(folder.iterdir()) if folder.is_dir() else ():
            number = int(picture.stem) if picture.stem.isdecimal() else 0
            if picture.name != f"{number:06d}.jpg" or not 1 <= number <= count:
                continue
            strange = picture.is_symlink() or not picture.is_file()
            if strange or number > ours[split] or picture.stat().st_mtime > changed:
                raise InputError(
                    f"{picture} was not drawn for this set; move it away or choose another folder"
                )
    return ours


def collect(
    drawn: Iterable[Drawn], split: str, count: int, size: int, info: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Numbers the annotations of a split as they come; returns COCO's instances and panoptic."""
    annotations: list[dict[str, Any]] = []
    maps: list[dict[str, Any]] = []
    for found, label_map in tqdm(drawn, f"drawing shapes/{split}", total=count, unit="img"):
        annotations += [{"id": len(annotations) + k, **a} for k, a in enumerate(found, 1)]
        maps.append(label_map)
    images = [
        {"id": i, "file_name": f"{split}/{i:06d}.jpg", "width": size, "height": size}
        for i in range(1, count + 1)
    ]
    categories = [
        {"id": i, "name": name, "supercategory": "shape"} for i, name in enumerate(CLASSES, 1)
    ]
    things = [{**one, "isthing": 1} for one in categories]
    stuff = [
        {"id": i, "name": name, "supercategory": "texture", "isthing": 0}
        for i, name in enumerate(NAMES, len(CLASSES) + 1)
    ]
    both = {"info": info, "images": images}
    return {
        "instances": {**both, "annotations": annotations, "categories": categories},
        "panoptic": {**both, "annotations": maps, "categories": things + stuff},
    }


def draw_shapes(
    root: str | os.PathLike[str],
    *,
    train: int = 6000,
    val: int = 200,
    size: int = 128,
    seed: int = 0,
    processes: int | None = None,
) -> None:
    """Draws `train` and `val` pictures of size x size px into a COCO folder, once.

    The same arguments give the same bytes, whatever the number of processes (None: all cores).
    A folder that already holds the finished set is left as it is, and nothing is drawn over a
    picture that is not of such a set. Workers are spawned: call this
    from an importable module or under `if __name__ == "__main__"`.
    """
    workers = processes if processes is not None else os.cpu_count() or 1
    limits = {"train": (train, 1), "val": (val, 1), "size": (size, MIN_SIZE), "seed": (seed, 0),
              "processes": (workers, 1)}  # fmt: skip
    for name, (value, limit) in limits.items():
        if value < limit:
            raise InputError(f"{name} is {value}, but must be at least {limit}")
    root = Path(root)
    info = {
        "description": DESCRIPTION,
        "version": str(DRAWING_VERSION),
        "arguments": {"train": train, "val": val, "size": size, "seed": seed},
    }
    counts = {"train": train, "val": val}
    files = {
        (split, kind): root / "annotations" / f"{kind}_{split}.json"
        for split in counts
        for kind in ("instances", "panoptic")
    }
    if all(read_info(path) == info for path in files.values()):
        return
    ours = check_pictures(root, counts)
    known = {split: max(count, ours[split]) for split, count in counts.items()}
    writing.put(root / JOURNAL, json.dumps({"info": {**info, "arguments": known}}).encode())
    for (split, kind), path in files.items():
        path.unlink(missing_ok=True)  # the old list would no longer fit the pictures
        (root / "images" / split).mkdir(parents=True, exist_ok=True)
        if kind == "panoptic":
            path.with_suffix("").mkdir(exist_ok=True)
    sets: dict[str, dict[str, dict[str, Any]]] = {}
    # Spawned, not forked: the caller may run threads (JAX does), and these do not survive a fork.
    # A pool starts its processes with the first task, hence none at all where one worker suffices.
    with ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), cv2.setNumThreads, (1,)
    ) as pool:
        for number, (split, count) in enumerate(counts.items()):
            task = partial(draw_image, split=split, number=number, root=root, size=size, seed=seed)
            order = range(1, count + 1)
            drawn = pool.map(task, order, chunksize=CHUNK) if workers > 1 else map(task, order)
            sets[split] = collect(drawn, split, count, size, info)
    for (split, kind), path in files.items():
        writing.put(path, json.dumps(sets[split][kind]).encode())
    (root / JOURNAL).unlink()
