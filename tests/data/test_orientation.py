"""Claims about photos that EXIF turns: a set's masks lie as its sides, or its pixels, say."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from solojax.data import annotations
from solojax.data.findings import Finding, Findings
from solojax.data.health import orientation
from solojax.data.images import values as image_values

ORIENTATIONS = range(2, 9)


def photo(
    folder: Path, number: int, turn: int, sides: tuple[int, int], masks: str
) -> annotations.Image:
    """A stored image of some sides with bright blobs, and instances that are these blobs.

    ``masks`` says where: as "stored", as "turned", or as turned and "stretched" to stored sides.
    """
    draw = np.random.default_rng(number)
    pixels = draw.integers(60, 90, (*sides, 3), np.uint8)
    instances = []
    for label in range(3):
        blob = np.zeros(sides, np.uint8)
        center = [int(draw.integers(10, side - 10)) for side in sides[::-1]]
        cv2.circle(blob, center, 7, 1, -1)
        pixels[blob > 0] = 250
        if masks != "stored":
            blob = image_values.turn(blob[..., None], turn)[..., 0]
        if masks == "stretched":
            blob = cv2.resize(blob, sides[::-1], interpolation=cv2.INTER_NEAREST)
        counts = coco_mask.encode(np.asfortranarray(blob))["counts"]
        box = (0.0, 0.0, 1.0, 1.0)
        instances.append(annotations.Instance(label, 0, counts, box, 1.0, (0.0, 0.0), False))
    exif = Image.Exif()
    exif[0x0112] = turn
    path = folder / f"{number}.png"
    Image.fromarray(pixels).save(path, exif=exif)
    return annotations.Image(number, path, *blob.shape, instances, path.name)


def decide(images: list[annotations.Image]) -> tuple[bool, list[Finding]]:
    findings = Findings()
    photos = orientation.find(images, threads=2)
    return orientation.decide(photos, findings, threads=2), list(findings)


@pytest.mark.parametrize("masks", ["stored", "turned"])
@pytest.mark.parametrize("turn", ORIENTATIONS)
def test_of_square_photos_the_masks_tell(masks: str, turn: int, tmp_path: Path) -> None:
    images = [photo(tmp_path, number, turn, (64, 64), masks) for number in range(6)]
    as_stored, (told,) = decide(images)
    assert as_stored == (masks == "stored")
    assert (told.effect, told.count) == ("told", 6) and "as their masks fit" in told.what


@pytest.mark.parametrize("masks", ["stored", "turned"])
def test_photos_whose_sides_do_not_tell_are_read_as_those_whose_do(
    masks: str, tmp_path: Path
) -> None:
    images = [photo(tmp_path, number, 6, (48, 80), masks) for number in range(6)]
    lone = photo(tmp_path, 99, 3, (48, 80), masks)
    as_stored, told = decide([*images, lone])
    assert as_stored == (masks == "stored")
    assert told[-1].effect == "told" and told[-1].places == (f"{lone.path} (EXIF 3)",)
    assert {one.effect for one in told} == {"told"}


def test_masks_of_turned_photos_stretched_to_the_sides_of_the_file_are_told(
    tmp_path: Path,
) -> None:
    images = [photo(tmp_path, number, 6, (48, 80), "stretched") for number in range(6)]
    as_stored, (told,) = decide(images)
    assert not as_stored and (told.effect, told.count) == ("doubtful", 6)
    assert "fit the photos as they are turned" in told.what and "data.stretched=true" in told.cure


def test_one_photo_with_sides_as_stored_is_told(tmp_path: Path) -> None:
    image = photo(tmp_path, 0, 8, (48, 80), "stretched")
    _, (told,) = decide([image])
    assert (told.effect, told.places) == ("doubtful", (f"{image.path} (EXIF 8)",))


def test_a_set_of_both_kinds_is_told(tmp_path: Path) -> None:
    images = [photo(tmp_path, number, 6, (48, 80), "turned") for number in range(3)]
    odd = photo(tmp_path, 9, 6, (48, 80), "stored")
    _, (told,) = decide([*images, odd])
    assert told.effect == "doubtful" and told.places == (f"{odd.path} (EXIF 6)",)


def test_nothing_is_said_where_no_photo_is_turned_or_all_have_their_turned_sides(
    tmp_path: Path,
) -> None:
    upright = photo(tmp_path, 0, 1, (48, 80), "stored")
    turned = photo(tmp_path, 1, 6, (48, 80), "turned")
    assert decide([upright, turned]) == (False, [])


@pytest.mark.parametrize(("turn", "how"), [(4, "upside down"), (2, "from right to left")])
def test_masks_that_are_turned_over_are_told(turn: int, how: str, tmp_path: Path) -> None:
    images = [photo(tmp_path, number, 1, (48, 80), "stored") for number in range(6)]
    photos = [orientation.Photo(image, (48, 80), 1) for image in images]
    findings = Findings()
    orientation.look_upside_down(photos, findings, threads=2)
    assert not list(findings)
    for image in images:
        image.instances[:] = [
            one._replace(rle=turned_over(one.rle, (48, 80), turn)) for one in image.instances
        ]
    orientation.look_upside_down(photos, findings, threads=2)
    (told,) = findings
    assert (told.effect, told.count) == ("doubtful", 6) and how in told.what


def turned_over(counts: bytes, sides: tuple[int, int], turn: int) -> bytes:
    mask = coco_mask.decode({"size": list(sides), "counts": counts})
    mask = image_values.turn(mask[..., None], turn)[..., 0]
    encoded: bytes = coco_mask.encode(np.asfortranarray(mask))["counts"]
    return encoded


def texture(folder: Path, number: int, draw: np.random.Generator) -> orientation.Photo:
    """Noise in which an object is noise of another strength, so that no colour tells of it."""
    pixels = draw.normal(120, 35, (64, 64, 3))
    x, y = draw.integers(2, 40, 2)
    mask = np.zeros((64, 64), np.uint8)
    mask[y : y + 18, x : x + 18] = 1
    pixels[mask > 0] = draw.normal(120, 8, (18 * 18, 3))
    path = folder / f"{number}.png"
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    counts = coco_mask.encode(np.asfortranarray(mask))["counts"]
    one = annotations.Instance(1, 0, counts, (0.0, 0.0, 1.0, 1.0), 1.0, (0.0, 0.0), False)
    image = annotations.Image(number, path, 64, 64, [one], path.name)
    return orientation.Photo(image, (64, 64), 1)


@pytest.mark.parametrize("seed", [9, 17])  # of many, those that fit best turned over
def test_of_textures_nothing_is_said(seed: int, tmp_path: Path) -> None:
    draw = np.random.default_rng(seed)
    photos = [texture(tmp_path, number, draw) for number in range(12)]
    findings = Findings()
    orientation.look_upside_down(photos, findings, threads=2)
    assert not list(findings)


def test_copies_of_a_photo_count_once(tmp_path: Path) -> None:
    image = photo(tmp_path, 0, 1, (48, 80), "stored")
    image.instances[:] = [
        one._replace(rle=turned_over(one.rle, (48, 80), 4)) for one in image.instances
    ]
    findings = Findings()
    copies = [orientation.Photo(image, (48, 80), 1)] * 16
    orientation.look_upside_down(copies, findings, threads=2)
    assert not list(findings)
