"""Reads what results are scored against: a COCO instances file with masks, boxes or both."""

from pathlib import Path
from typing import Any

from etils import epath

from solojax.data import annotations
from solojax.data.annotations import segmentations
from solojax.data.annotations.instances import is_crowd
from solojax.data.annotations.mask_forms import NO_SEGMENTATION, NoMaskError
from solojax.data.findings import Findings, shorten
from solojax.evaluation.metrics import coco
from solojax.types import InputError

FARTHEST = 1e9  # pixels; beyond that no number is one of a box


def read(path: Path, findings: Findings) -> dict[str, Any]:
    """Reads a COCO instances file; its images need not be there.

    What has neither a usable mask nor a box is left out, and told.

    Args:
      path: of the JSON.
      findings: what is told of it.

    Returns:
      What ``of_kind`` takes: a COCO dictionary whose annotations have a ``bbox``, to the bit as the
      file has it where it has one, and a ``segmentation`` (compressed run lengths) unless they have
      a box alone. Images have a ``file_name`` where the file names them, and the id it
      gives them as ``key``.

    Raises:
      InputError: the file is missing or not COCO, as ``annotations.read`` says, or has no instance.
    """
    check_file(path)
    instances: list[dict[str, Any]] = []

    def see(entry: annotations.Entry, read_as: annotations.Instance | str) -> None:
        stated = entry.annotation
        box = _stated_box(stated)
        one: dict[str, Any] = {
            # Anew: pycocotools takes a match with id 0 for none, and keeps ids as floats.
            "id": len(instances) + 1,
            "image_id": entry.image.id,
            "category_id": entry.category,
            "bbox": box,
        }
        if isinstance(read_as, annotations.Instance):
            x0, y0, x1, y1 = read_as.box
            size = [entry.image.height, entry.image.width]
            one["segmentation"] = {"size": size, "counts": read_as.rle}
            one |= {"area": read_as.area, "iscrowd": int(read_as.is_crowd)}
            one["bbox"] = box or [x0, y0, x1 - x0, y1 - y0]
        elif box:
            area = stated.get("area")
            one["area"] = area if segmentations.is_numbers([area]) else box[2] * box[3]
            try:
                one["iscrowd"] = int(is_crowd(stated.get("iscrowd")))
            except NoMaskError as error:
                findings.add("lost", f"instances of {path} are left out: {error}", entry.place())
                return
            one["maskless"] = read_as, f"annotation {stated.get('id')}"
            if read_as in (segmentations.EXCHANGED, segmentations.OTHER_SIZE):
                one["sides"] = _other_sides(entry)
        else:
            place = f"annotation {stated.get('id')}"
            findings.add("lost", f"instances of {path} are left out: {read_as}, no box", place)
            return
        instances.append(one)

    found = annotations.read(epath.Path(path), None, see)
    unknown = {one["category_id"] for one in instances} - found.category_ids.keys()
    if unknown:
        raise InputError(
            f"{path}: annotations name the unknown categories {sorted(unknown, key=str)}"
        )
    for one in instances:
        one["category_id"] = found.category_ids[one["category_id"]]
    findings.take(found.findings)
    if not instances:
        reasons = [str(one) for one in findings]
        raise InputError(": ".join([f"{path} has no instance to score against", *reasons]))
    keys = {image_id: key for key, image_id in found.image_ids.items()}
    return {
        "images": [
            {
                "id": image.id,
                "key": keys[image.id],
                "height": image.height,
                "width": image.width,
                "file_name": image.name,
            }
            for image in found.images
        ],
        "annotations": instances,
        "categories": [{"id": one.id, "name": one.name} for one in found.categories],
    }


def has_masks(truth: dict[str, Any]) -> bool:
    """Whether any instance has one, usable or not."""
    return any(
        "segmentation" in one or one["maskless"][0] != NO_SEGMENTATION
        for one in truth["annotations"]
    )


def check_sides(truth: dict[str, Any], path: Path) -> None:
    """Raises InputError where masks are of another size than their images."""
    faults = [one["sides"] for one in truth["annotations"] if "sides" in one]
    if faults:
        told = shorten(faults, len(faults))
        raise InputError(f"{path}: {told}; correct the sides, or --iou-type bbox scores boxes")


def of_kind(
    truth: dict[str, Any], kind: coco.Kind, path: Path, findings: Findings
) -> dict[str, Any]:
    """What ``scores.score`` takes: of masks, the instances that have one; others are told."""
    if kind == "bbox":
        return truth
    if not has_masks(truth):
        raise InputError(f"{path} has no masks to score by; --iou-type bbox scores boxes")
    check_sides(truth, path)
    whole = [one for one in truth["annotations"] if "segmentation" in one]
    if not whole:
        why = (one["maskless"] for one in truth["annotations"])
        reason, place = next(one for one in why if one[0] != NO_SEGMENTATION)
        raise InputError(
            f"{path}: no mask is usable ({place}: {reason}); --iou-type bbox scores boxes"
        )
    for one in truth["annotations"]:
        if "segmentation" not in one:
            reason, place = one["maskless"]
            cure = "--iou-type bbox scores them by their boxes"
            findings.add("lost", f"instances of {path} are left out: {reason}", place, cure=cure)
    return {**truth, "annotations": whole}


def sizes(truth: dict[str, Any]) -> dict[int, tuple[int, int]]:
    """(height, width) by image id."""
    return {image["id"]: (image["height"], image["width"]) for image in truth["images"]}


def _other_sides(entry: annotations.Entry) -> str:
    """What a person compares."""
    image, mask = entry.image, entry.annotation["segmentation"]
    size = mask.get("size") if isinstance(mask, dict) else None
    given = "x".join(map(str, size)) if isinstance(size, list) else "of another size"
    return (
        f"the mask of annotation {entry.id} is {given:.40} and image {image.id} is "
        f"{image.height}x{image.width} (height x width)"
    )


def _stated_box(annotation: dict[str, Any]) -> list[float] | None:
    """The box, x y width height, to the bit as the file has it; zeros, as some write, are none."""
    box: Any = annotation.get("bbox")
    return box if is_box(box) and min(box[2:]) > 0 else None


def is_box(box: Any) -> bool:
    """Whether it is x y width height in pixels of any image, or without an area."""
    four = segmentations.is_numbers(box) and len(box) == 4
    return four and max(map(abs, box)) < FARTHEST and min(box[2:]) >= 0


def check_file(path: Path) -> None:
    """Raises InputError where it is no file."""
    if path.is_dir():
        raise InputError(
            f"{path} is a folder; give a JSON file, or a panoptic JSON as --gt of label maps"
        )
    if not path.is_file():
        raise InputError(f"{path}: no such file")
