"""Writes a set that was read as a COCO folder."""

import hashlib
import json
from pathlib import Path
from typing import Any

from tqdm import tqdm

from solojax import writing
from solojax.data.findings import Effect, Findings
from solojax.data.foreign import label_maps
from solojax.data.foreign.contents import SPLITS, Import, Split
from solojax.data.foreign.texts import load
from solojax.types import InputError

LEFT_OUT = "left_out.json"
DESCRIPTION = "solojax import"  # marks a JSON file as ours: only such a file is ever replaced


def write(found: Import, out: Path) -> None:
    """Writes ``annotations/instances_{train,val}.json`` and ``images/`` into ``out``.

    Where the set has label maps, ``panoptic_{train,val}.json`` and the folders of their PNGs too.

    Prints what was found. Image files are copied byte by byte, and the JSONs follow when all images
    are there. The same set gives the same bytes again. Of what ``out`` holds already, only JSONs of
    an earlier import are replaced, or removed where the set has no such split.

    Raises:
      InputError: ``out`` lies in the source, or holds other annotations or another image of the
        same name; two images share a name; a split has no image or no instance.
    """
    if out.resolve().is_relative_to(found.source.resolve()):
        raise InputError(f"{out} lies in the source {found.source}; choose a folder outside of it")
    paths = {split: out / "annotations" / f"instances_{split}.json" for split in SPLITS}
    maps = {split: out / "annotations" / f"panoptic_{split}.json" for split in SPLITS}
    for path in filter(Path.exists, (*paths.values(), *maps.values())):
        info = load(path, json.loads).get("info")
        if not isinstance(info, dict) or info.get("description") != DESCRIPTION:
            raise InputError(f"{path} is not by this importer; choose another folder")
    _check_pictures(found)
    digests: dict[bytes, str] = {}
    for split, content in found.splits.items():
        for picture in tqdm(content.pictures, f"copying {split}", unit="image"):
            target, encoded = out / "images" / picture.name, picture.load()
            place = f"{split}: {picture.name}"
            first = digests.setdefault(hashlib.sha256(encoded).digest(), place)
            if first != place:
                _tell_equals(first, place, content.findings)
            if not target.exists():
                writing.put(target, encoded)
            elif target.read_bytes() != encoded:
                raise InputError(
                    f"{target} is there already, and is not the image of {picture.source}; "
                    "delete it or choose another folder"
                )
    for split, path in paths.items():
        maps[split].unlink(missing_ok=True)  # an earlier import's
        if split in found.splits:
            about = _to_coco(found.form, found.splits[split])
            if found.splits[split].stuff is not None:
                _write_maps(found.splits[split], about, maps[split])
            writing.put(path, json.dumps(about).encode())
            for finding in found.splits[split].findings:
                print(f"{path}: {finding}")
        else:
            path.unlink(missing_ok=True)
    listed = out / "annotations" / LEFT_OUT
    if found.left_out:
        writing.put(
            listed, json.dumps([one._asdict() for one in found.left_out], indent=1).encode()
        )
        print(f"{listed}: what is left out, with the reason of each")
    else:
        listed.unlink(missing_ok=True)  # of an earlier import


def _write_maps(split: Split, content: dict[str, Any], path: Path) -> None:
    """Writes the label maps of a split whose JSON of instances is ``content``."""
    annotations = []
    pairs = zip(split.pictures, content["images"], strict=True)
    bar = tqdm(pairs, "writing label maps", total=len(split.pictures), unit="image")
    for number, (picture, image) in enumerate(bar, 1):
        if picture.label_map is not None:
            name = f"{number:06d}.png"
            encoded, annotation = label_maps.encode(picture.label_map(), name)
            writing.put(path.with_suffix("") / name, encoded)
            annotations.append({"image_id": image["id"], **annotation})
    categories = [{**one, "isthing": 1} for one in split.categories]
    categories += [{**one, "isthing": 0} for one in split.stuff or ()]
    panoptic = {**content, "annotations": annotations, "categories": categories}
    writing.put(path, json.dumps(panoptic).encode())


def _tell_equals(first: str, place: str, findings: Findings) -> None:
    same_split = first.partition(": ")[0] == place.partition(": ")[0]
    effect: Effect = "told" if same_split else "doubtful"
    what = "images that are another one, byte for byte"
    cure = "" if same_split else "what is learned by heart is no measure: keep it in one split"
    findings.add(effect, what, f"{place} is {first}", cure=cure)


def _check_pictures(found: Import) -> None:
    places: dict[str, Path] = {}
    for split, content in found.splits.items():
        why = "; ".join(map(str, content.findings))
        if not content.pictures:
            raise InputError(
                f"{found.source} has no image for {split}{why and f' ({why})'}; add some or leave "
                "it out"
            )
        if not any(picture.instances or picture.label_map for picture in content.pictures):
            raise InputError(
                f"{found.source}: {split} has no instance with a mask "
                f"({why or 'none was skipped'}); there is nothing to learn from it; draw some"
            )
        for picture in content.pictures:
            if (other := places.setdefault(picture.name, picture.source)) != picture.source:
                raise InputError(
                    f"{other} and {picture.source} both become images/{picture.name}; rename one, "
                    "or move one of two descriptions away"
                )


def _to_coco(form: str, split: Split) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []
    for number, picture in enumerate(split.pictures, 1):
        name, _, _, (height, width), instances, extra, _ = picture
        about = {"file_name": name, "height": height, "width": width}
        images.append({"id": number, **extra, **about})
        for instance in instances:
            ids = {"id": len(entries) + 1, "image_id": images[-1]["id"]}
            entries.append({**ids, **instance})
    info = split.extra.get("info")
    info = info if isinstance(info, dict) else {}
    return {
        **split.extra,
        "info": {**info, "description": DESCRIPTION, "form": form},
        "images": images,
        "annotations": entries,
        "categories": split.categories,
    }
