"""Draws the "shapes" data set: textured toys on textured ground, as an ordinary COCO folder.

Colour and texture are drawn without looking at the class, so that only the outline tells the
classes apart, and shapes overlap, so that the masks are worth learning.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from tqdm import tqdm

from solojax.types import InputError

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Rng = np.random.Generator

CLASSES = ("circle", "rectangle", "triangle", "star", "ring")  # category ids 1..5, in this order
DESCRIPTION = "solojax shapes"  # marks a JSON file as ours: only such a file is ever replaced
DRAWING_VERSION = 1  # raise it with any change to the pictures, so that old folders are redrawn

MIN_SIZE = 32  # px; below it the largest shape (MAX_EXTENT) hardly exceeds the smallest
MAX_SHAPES = 6  # tried, uniform on 1..6; those that find no place bring the mean to 3.3
MARGIN = 0.06  # of the side: centres keep clear of the border, for whole and for cut shapes
MIN_EXTENT = 12.0  # px; a smaller star and a circle look the same
MAX_EXTENT = 0.55  # of the picture's side: 70 px in 128, a close-up that leaves room for others
MIN_VISIBLE = 0.35  # of a shape's area, also counting what lies outside the picture
MIN_PIXELS = 30  # visible; fewer do not show an outline
SUPERSAMPLE = 4  # 16 samples per pixel: smooth edges, coverage in steps of 1/16
JPEG_QUALITY = 90  # no visible blocks, about 7 kB per 128 px picture
CHUNK = 16  # pictures per message to a worker: about 0.1 s of work

ASPECT = (0.55, 1.0)  # short by long side of rectangles and triangles; thinner ones are sticks
CORNER = 0.07  # corner radius by extent: soft like a wooden toy, and still a corner
STAR_INNER = (0.45, 0.56)  # inner by outer radius: 0.38 is the sharp pentagram, 0.8 the decagon
RING_INNER = (0.5, 0.68)  # hole by outer radius: a clear hole, a band that survives at 12 px
CIRCLE_POINTS = 72  # corners of a drawn circle: off by 0.03 px at most for 70 px

PERIOD = (6.0, 15.0)  # px between stripes, checks, dots: two or more repeats in most shapes
NOISE_TILE = 32  # side of the random tile behind the smooth noise; it wraps
LIGHT_SWING = 0.14  # brightness of the ground changes by this much from the centre to a corner
SHAPE_SWING = 0.16  # the same across a shape, from its centre to its rim
RIM_LIGHT = 0.17  # brightness that a rounded rim gains toward the light and loses away from it
SHADOW_STRENGTH = (0.3, 0.5)  # light lost under a shape: a soft, sunny shadow
SHADOW_LENGTH = (1.5, 4.0)  # px; toys lie flat on the ground
SHADOW_BLUR = 1.8  # px, standard deviation
GROUND_CONTRAST = (30.0, 14.0, 14.0)  # CIELAB distance to the ground: mean, each of two tones
SHAPE_CONTRAST = 18.0  # CIELAB distance of the mean colours of two shapes: close, yet told apart
COLOUR_TRIES = 48  # two suffice on average; after the last, the best one seen is taken

PALETTE = (
    "e4572e f28f3b f4c95d f6edd9 a8d5ba 5b9a5b 2f5d50 17808c 7fc4e0 2b6cb0 "
    "22335c b7a6d8 6d3b6b e78fa6 a63d40 d9b98a 7a5239 5e6b78 33383f dde3e8"
)
COLOURS = np.array([list(bytes.fromhex(c)) for c in PALETTE.split()], np.float32) / 255
WHITE, INK = np.array([[1.0, 0.98, 0.94], [0.08, 0.09, 0.16]], np.float32)  # warm and cool


class Shape(NamedTuple):
    """One placed shape: class 0..4, anti-aliased coverage [H, W] in 0..1, area in px, centre."""

    label: int
    coverage: Array
    area: int
    centre: Array
    extent: float


def outline_shape(rng: Rng, label: int) -> list[Array]:
    """Returns the contours [N, 2] of a shape of unit radius, unrotated; a ring has two."""
    turn = np.linspace(0, 2 * np.pi, CIRCLE_POINTS, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], -1)
    aspect = rng.uniform(*ASPECT)
    match CLASSES[label]:
        case "circle":
            contours = [circle]
        case "rectangle":
            corner = np.array([1.0, aspect]) / np.hypot(1.0, aspect)
            contours = [corner * [[-1, -1], [1, -1], [1, 1], [-1, 1]]]
        case "triangle":
            contours = [circle[:: CIRCLE_POINTS // 3] * [1.0, aspect]]
        case "star":
            turn = np.arange(10) * np.pi / 5
            radius = np.where(np.arange(10) % 2, rng.uniform(*STAR_INNER), 1.0)
            contours = [np.stack([np.cos(turn), np.sin(turn)], -1) * radius[:, None]]
        case _:
            contours = [circle, circle * rng.uniform(*RING_INNER)]
    return [contour.astype(np.float32) for contour in contours]


def place_shape(rng: Rng, size: int) -> Shape:
    """Draws one shape of random class, size, place and rotation on a size x size px canvas."""
    label = int(rng.integers(len(CLASSES)))
    extent = float(rng.uniform(MIN_EXTENT, MAX_EXTENT * size))
    centre = rng.uniform(MARGIN * size, (1 - MARGIN) * size, 2).astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    side = int(np.ceil(extent)) + 4  # spare pixels for the anti-aliased edge
    origin = np.floor(centre - side / 2).astype(int)
    # A stroke of the corner radius around a smaller shape rounds its corners.
    corner = CORNER * extent
    contours = [
        (((extent / 2 - corner) * c @ turn + centre - origin) * SUPERSAMPLE).astype(np.int32)
        for c in outline_shape(rng, label)
    ]
    fine = np.zeros((side * SUPERSAMPLE, side * SUPERSAMPLE), np.uint8)
    cv2.fillPoly(fine, contours, 255)
    cv2.polylines(fine, contours[:1], True, 255, max(1, round(2 * corner * SUPERSAMPLE)))
    patch = cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA) / np.float32(255)
    coverage = np.zeros((size, size), np.float32)
    (left, top), (right, bottom) = np.maximum(origin, 0), np.minimum(origin + side, size)
    inside = patch[top - origin[1] : bottom - origin[1], left - origin[0] : right - origin[0]]
    coverage[top:bottom, left:right] = inside
    return Shape(label, coverage, int((patch >= 0.5).sum()), centre, extent)


def lay_out(rng: Rng, size: int) -> tuple[list[Shape], list[Mask]]:
    """Piles up 1 to 6 shapes, bottom first; returns them with their visible masks [H, W]."""
    tries = int(rng.integers(1, MAX_SHAPES + 1))
    shapes: list[Shape] = []
    visible: list[Mask] = []
    while tries > 0 or not shapes:
        tries -= 1
        shape = place_shape(rng, size)
        mask = shape.coverage >= 0.5
        after = [*(below & ~mask for below in visible), mask]
        if all(
            m.sum() >= max(MIN_VISIBLE * s.area, MIN_PIXELS)
            for m, s in zip(after, [*shapes, shape], strict=True)
        ):
            shapes, visible = [*shapes, shape], after
    return shapes, visible


def smooth_noise(rng: Rng, u: Array, v: Array, scale_u: float, scale_v: float) -> Array:
    """Returns noise [H, W] in about -1..1 that varies over scale_u, scale_v px along u, v."""
    tile = rng.uniform(-1, 1, (NOISE_TILE, NOISE_TILE)).astype(np.float32)
    # Wrapped by hand, with three spare cells for the cubic kernel: remap's own BORDER_WRAP (OpenCV
    # 5.0) wraps once only, and draws streaks further out than two tiles.
    tile = np.pad(tile, 3, mode="wrap")
    total = np.zeros_like(u)
    for octave in (1, 2):  # the second octave, half as wide and half as strong, adds the detail
        x, y = u * np.float32(octave / scale_u), v * np.float32(octave / scale_v)
        total += cv2.remap(tile, x % NOISE_TILE + 3, y % NOISE_TILE + 3, cv2.INTER_CUBIC) / octave
    return total


def clip_unit(field: NDArray[Any]) -> Array:
    """Clips a field to 0..1, the range in which it mixes two tones."""
    return np.asarray(np.clip(field, 0, 1), np.float32)


def sharpen_wave(wave: Array, period: float) -> Array:
    """Turns a sine of this period (px) into bands 0 and 1 with edges one pixel wide."""
    return clip_unit(0.5 + wave * np.float32(period / (2 * np.pi)))


def draw_plain(rng: Rng, u: Array, v: Array, period: float) -> Array:
    """Returns a slow ramp with a breath of noise."""
    ramp = 0.5 + 0.5 * np.sin(u / np.float32(6 * period))
    return clip_unit(ramp + np.float32(0.08) * smooth_noise(rng, u, v, 4, 4))


def draw_stripes(rng: Rng, u: Array, v: Array, period: float) -> Array:
    """Returns straight or wavy stripes."""
    bend = rng.choice([0.0, 0.25]) * period * np.sin(v * np.float32(np.pi / period))
    return sharpen_wave(np.sin((u + bend) * np.float32(2 * np.pi / period)), period)


def draw_checks(rng: Rng, u: Array, v: Array, period: float) -> Array:
    """Returns a chess board, or the three tones of gingham cloth."""
    across, along = (np.sin(w * np.float32(np.pi / period)) for w in (u, v))
    if rng.random() < 0.5:
        return sharpen_wave(across * along, 2 * period)
    return clip_unit((sharpen_wave(across, 2 * period) + sharpen_wave(along, 2 * period)) / 2)


def draw_dots(rng: Rng, u: Array, v: Array, period: float) -> Array:
    """Returns staggered dots."""
    radius = period * rng.uniform(0.22, 0.36)  # 0.5 would let neighbours touch
    shifted = v + (np.floor(u / period) % 2) * np.float32(period / 2)
    away = np.hypot(u % period - period / 2, shifted % period - period / 2)
    return clip_unit(0.5 + radius - away)


def draw_clouds(rng: Rng, u: Array, v: Array, period: float) -> Array:
    """Returns smooth noise: soft clouds in felt, or blots with crisp edges."""
    if rng.random() < 0.5:  # large, and with a fine grain: else the picture would look unsharp
        soft = 0.4 * smooth_noise(rng, u, v, 3 * period, 3 * period)
        return clip_unit(0.5 + soft + 0.14 * smooth_noise(rng, u, v, 2, 2))
    return clip_unit(0.5 + period / 2 * smooth_noise(rng, u, v, period, period))


def draw_wood(rng: Rng, u: Array, v: Array, period: float) -> Array:
    """Returns year rings that end abruptly, with a grain along them."""
    ring = (u / period + 0.8 * smooth_noise(rng, u, v, 3 * period, 9 * period)) % 1
    soft = np.minimum(ring, (1 - ring) * 5)  # the abrupt end, five times as steep as the rise
    return clip_unit(soft + 0.25 * smooth_noise(rng, u, v, 1.5, 14))


def draw_marble(rng: Rng, u: Array, v: Array, period: float) -> Array:
    """Returns thin veins that wander through a cloudy stone."""
    wander = smooth_noise(rng, u, v, 2 * period, 2 * period)
    vein = 1 - np.abs(np.sin(u / (1.5 * period) + 2.2 * wander))
    return clip_unit(0.15 + 0.2 * wander + vein**3)


TEXTURES: tuple[Callable[[Rng, Array, Array, float], Array], ...] = (
    draw_plain, draw_stripes, draw_checks, draw_dots, draw_clouds, draw_wood, draw_marble,
)  # fmt: skip


def draw_texture(rng: Rng, tones: Array, size: int) -> Array:
    """Returns a picture [size, size, 3] that mixes the two tones [2, 3] in a random texture."""
    angle, period = rng.uniform(0, 2 * np.pi), rng.uniform(*PERIOD)
    y, x = np.mgrid[:size, :size].astype(np.float32) + rng.uniform(0, 2 * size)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    draw = TEXTURES[rng.integers(len(TEXTURES))]
    field = draw(rng, x * cos + y * sin, y * cos - x * sin, period)
    return np.asarray(tones[0] + field[..., None] * (tones[1] - tones[0]), np.float32)


def to_lab(colours: Array) -> Array:
    """Converts colours [N, 3], RGB in 0..1, to CIELAB, where distance is what the eye sees."""
    return np.asarray(cv2.cvtColor(colours[None], cv2.COLOR_RGB2LAB)[0], np.float32)


def pick_tones(rng: Rng, used: list[Array]) -> Array:
    """Picks two tones [2, 3] that stand out from the pairs in use; the ground's comes first."""
    best, best_score = np.asarray(COLOURS[:2], np.float32), -1.0
    for _ in range(COLOUR_TRIES if used else 1):
        base, other = COLOURS[rng.choice(len(COLOURS), 2, replace=False)]
        # Mostly a lighter or a darker shade of one colour, at times a pair of colours.
        target = (WHITE, INK, other)[rng.choice(3, p=(0.4, 0.25, 0.35))]
        tones = np.asarray([base, base + rng.uniform(0.3, 0.6) * (target - base)], np.float32)
        score = 1.0
        if used:
            lab = to_lab(np.stack([tones.mean(0), *tones, *(pair.mean(0) for pair in used)]))
            to_ground = np.linalg.norm(lab[:3] - lab[3], axis=1) / GROUND_CONTRAST
            to_shapes = np.linalg.norm(lab[:1] - lab[4:], axis=1) / SHAPE_CONTRAST
            score = float(min([*to_ground, *to_shapes]))
        if score > best_score:
            best, best_score = tones, score
        if score >= 1:
            break
    return best


def shift(picture: Array, by: Array) -> Array:
    """Moves a picture [H, W] by (x, y) px and repeats its border."""
    move = np.array([[1, 0, by[0]], [0, 1, by[1]]], np.float32)
    side = picture.shape[::-1]
    moved = cv2.warpAffine(picture, move, side, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)


def paint(rng: Rng, shapes: list[Shape], size: int) -> NDArray[np.uint8]:
    """Paints ground, shadows and shapes, bottom first; returns [size, size, 3] RGB."""
    angle = rng.uniform(0, 2 * np.pi)
    light = np.array([np.cos(angle), np.sin(angle)], np.float32)  # points toward the light
    length, strength = rng.uniform(*SHADOW_LENGTH), np.float32(rng.uniform(*SHADOW_STRENGTH))
    y, x = np.mgrid[:size, :size].astype(np.float32) + 0.5
    used = [pick_tones(rng, [])]
    slope = ((x - size / 2) * light[0] + (y - size / 2) * light[1]) / (size * np.sqrt(0.5))
    scene = draw_texture(rng, used[0], size) * (1 + LIGHT_SWING * slope[..., None])
    for shape in shapes:
        alpha = shape.coverage
        shadow = cv2.GaussianBlur(shift(alpha, -length * light), (0, 0), SHADOW_BLUR)
        scene *= 1 - strength * shadow[..., None]
        used.append(pick_tones(rng, used))
        slope = (x - shape.centre[0]) * light[0] + (y - shape.centre[1]) * light[1]
        glow = 1 + SHAPE_SWING * np.clip(slope / (shape.extent / 2), -1, 1)
        soft = np.asarray(cv2.GaussianBlur(alpha, (0, 0), 1.0), np.float32)
        rim = RIM_LIGHT * (shift(soft, -light) - shift(soft, light))
        surface = draw_texture(rng, used[-1], size) * glow[..., None] + rim[..., None]
        scene += alpha[..., None] * (surface - scene)
    return np.asarray(np.clip(scene * 255 + 0.5, 0, 255), np.uint8)


def draw_image(
    index: int, *, split: str, number: int, root: Path, size: int, seed: int
) -> list[dict[str, Any]]:
    """Draws and saves image `index` of split `number`; returns its annotations, yet without ids."""
    rng = np.random.default_rng((seed, number, index))
    shapes, visible = lay_out(rng, size)
    picture = cv2.cvtColor(paint(rng, shapes, size), cv2.COLOR_RGB2BGR)
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
    return annotations


def read_info(path: Path) -> dict[str, Any] | None:
    """Returns the "info" of our JSON file, None if there is none; a foreign file is an error."""
    if not path.exists():
        return None
    try:
        info = json.loads(path.read_text())["info"]
        ours = info["description"] == DESCRIPTION
    except (ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise InputError(f"{path} is not a '{DESCRIPTION}' file; choose another folder")
    return dict(info)


def collect(
    drawn: Iterable[list[dict[str, Any]]], split: str, count: int, size: int, info: dict[str, Any]
) -> dict[str, Any]:
    """Numbers the annotations of a split as they come and returns the whole COCO dictionary."""
    annotations: list[dict[str, Any]] = []
    for found in tqdm(drawn, f"drawing shapes/{split}", total=count, unit="img"):
        annotations += [{"id": len(annotations) + k, **a} for k, a in enumerate(found, 1)]
    images = [
        {"id": i, "file_name": f"{split}/{i:06d}.jpg", "width": size, "height": size}
        for i in range(1, count + 1)
    ]
    categories = [
        {"id": i, "name": name, "supercategory": "shape"} for i, name in enumerate(CLASSES, 1)
    ]
    return {"info": info, "images": images, "annotations": annotations, "categories": categories}


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
    A folder that already holds the finished set is left as it is. Workers are spawned: call this
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
    files = {split: root / "annotations" / f"instances_{split}.json" for split in counts}
    if [read_info(path) for path in files.values()] == [info, info]:
        return
    for split, path in files.items():
        path.unlink(missing_ok=True)  # the old list would no longer fit the pictures
        path.parent.mkdir(parents=True, exist_ok=True)
        (root / "images" / split).mkdir(parents=True, exist_ok=True)
    sets: dict[str, dict[str, Any]] = {}
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
    for split, path in files.items():
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(sets[split]))
        os.replace(draft, path)
