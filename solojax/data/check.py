"""``solojax data check``: all that can be said of a set without training on it."""

import collections
import dataclasses
import json
from typing import Any, NamedTuple

from etils.epath import Path

from solojax import config as config_lib
from solojax.data import annotations
from solojax.data.annotations import categories
from solojax.data.annotations.suspicions import MOST_EQUAL
from solojax.data.findings import Effect, Finding, Findings, shorten
from solojax.data.health import checksums, file_survey, label_maps, orientation
from solojax.data.images import values as image_values
from solojax.data.records import coco
from solojax.types import InputError, escaped

SPLITS: tuple[coco.Split, ...] = ("train", "val")
ORDER: tuple[Effect, ...] = ("lost", "doubtful", "repaired", "told")
SET = "both"  # in place of a split: what concerns all of them


class Report(NamedTuple):
    """What was found."""

    counts: dict[str, dict[str, Any]]  # split -> its JSON, images, instances and classes
    findings: list[tuple[str, Finding]]  # split, or SET; what is worst comes first
    unread: dict[str, str]  # split -> why its annotations cannot be read

    @property
    def code(self) -> int:
        """0 where nothing is lost or likely wrong, 1 where something is, 2 where it is not read."""
        if self.unread:
            return 2
        return int(any(one.effect in ("lost", "doubtful") for _, one in self.findings))

    def to_json(self) -> str:
        """All of it."""
        findings = [
            {
                "split": split,
                "effect": one.effect,
                "count": one.count,
                "what": one.what,
                "places": list(one.places),
                "cure": one.cure,
            }
            for split, one in self.findings
        ]
        about = {"code": self.code, "splits": self.counts, "unread": self.unread}
        return json.dumps({**about, "findings": findings}, indent=1)

    def __str__(self) -> str:
        lines = []
        for split, about in self.counts.items():
            keys = ("images", "instances", "classes", "label maps", "kinds of stuff")
            counted = ", ".join(f"{about[key]} {key}" for key in keys if key in about)
            lines.append(f"{split}: {about['json']}: {counted}")
        if self.findings:
            lines.append(f"{'effect':10}{'split':7}{'count':>8}  what")
        for split, one in self.findings:
            lines.append(f"{one.effect:10}{split:7}{one.count:8}  {one.what}")
            if one.places:
                lines.append(f"{'':27}{shorten(one.places, one.count, ', ')}")
            if one.cure:
                lines.append(f"{'':27}→ {one.cure}")
        lines += [f"{split} cannot be read: {why}" for split, why in self.unread.items()]
        counts = collections.Counter(one.effect for _, one in self.findings)
        lines.append(", ".join(f"{effect}: {counts[effect]}" for effect in ORDER))
        return "\n".join(map(escaped, lines))


def tell(root: Path) -> list[str]:
    """What the annotations of a COCO folder, looked at as a whole, tell of; a line each.

    Raises:
      InputError: they cannot be read.
    """
    data = config_lib.Data(root=str(root))
    lines = []
    for split in SPLITS:
        if coco.has_split(data, split):
            json_path, image_root = coco.locate(data, split)
            lines += [
                f"{json_path}: {one}" for one in annotations.read(json_path, image_root).findings
            ]
    return lines


def folder(
    data: config_lib.Data,
    *,
    hashes: bool = False,
    decode: bool = False,
    list_path: Path | None = None,
) -> Report:
    """Looks at a COCO folder.

    Args:
      data: where it is.
      hashes: whether bytes are compared with each other and with a list of checksums.
      decode: whether all images are decoded.
      list_path: of that list; where left out, it lies in the folder.

    Raises:
      InputError: the list of checksums cannot be read or written.
    """
    splits = [split for split in SPLITS if coco.has_split(data, split)] or list(SPLITS[:1])
    # All of what is wrong is told, rather than the first.
    lenient = dataclasses.replace(data, faults="skip", most_skipped=1.0)
    value_range = image_values.range_of(data.value_range)
    counts: dict[str, dict[str, Any]] = {}
    unread: dict[str, str] = {}
    read: dict[str, annotations.Annotations] = {}
    roots: dict[Path, None] = {}
    places = collections.defaultdict(list)
    now: dict[str, str] = {}
    both = Findings()
    for split in splits:
        try:
            json_path, image_root = coco.locate(data, split)
            content = annotations.read(json_path, image_root, data=lenient)
        except InputError as error:
            unread[split] = str(error)
            continue
        read[split], roots[image_root] = content, None
        images = content.images
        counts[split] = {
            "json": str(json_path),
            "images": len(images),
            "instances": sum(len(image.instances) for image in images),
            "classes": len(content.categories),
        }
        if content.stuff is not None:
            counts[split] |= {
                "label maps": sum(image.label_map is not None for image in images),
                "kinds of stuff": len(content.stuff),
            }
        files = file_survey.look(
            [image.path for image in images],
            f"looking at {split}",
            threads=coco.workers(),
            digests=hashes,
            decode=decode,
            value_range=value_range,
        )
        file_survey.tell(images, files, content.findings)
        if content.stuff is not None:
            label_maps.look(
                images,
                [*content.categories, *content.stuff],
                content.findings,
                threads=coco.workers(),
                decode=decode,
            )
        photos = [
            orientation.Photo(image, file.size, file.orientation)
            for image, file in zip(images, files, strict=True)
            if not file.fault
        ]
        threads = coco.workers()
        turned = [one for one in photos if one.orientation > 1]
        orientation.decide(turned, content.findings, threads=threads)
        if decode and not turned:
            orientation.look_upside_down(photos, content.findings, threads=threads)
        for image, file in zip(images, files, strict=True):
            # Without their bytes, two are the same where they are one file.
            places[file.digest or str(image.path)].append((split, str(image.path)))
            if file.digest:
                now[_name(image.path, Path(data.root))] = file.digest
    most = MOST_EQUAL * sum(map(len, places.values()))
    file_survey.tell_of_equals(places, int(most), both)
    if hashes and now:
        checksums.compare(list_path or Path(data.root) / checksums.NAME, now, both)
    if not unread:
        if len(read) == 2:
            _compare_classes(read["train"], read["val"], both)
        named = [image.path for content in read.values() for image in content.images]
        named += [
            image.label_map.path
            for content in read.values()
            for image in content.images
            if image.label_map
        ]
        named += [Path(about["json"]) for about in counts.values()]
        left_out = [one.file_name for content in read.values() for one in content.faults.left_out]
        for root in roots:
            if not any(root != other and root.is_relative_to(other) for other in roots):
                file_survey.tell_of_others(root, named, left_out, both)
    findings = [(split, one) for split, content in read.items() for one in content.findings]
    findings += [(SET, one) for one in both]
    findings.sort(key=lambda one: ORDER.index(one[1].effect))
    return Report(counts, findings, unread)


def _name(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _compare_classes(
    train: annotations.Annotations, val: annotations.Annotations, findings: Findings
) -> None:
    """Adds ids and names of classes that differ, and classes that are scored and never learned."""
    categories.compare(train.categories, val.categories, findings)
    learned = _counts(train)
    unknown = [
        f"{name}: {count}" for name, count in _counts(val).items() if count and not learned[name]
    ]
    what = "classes have instances in val and none in train"
    findings.add_all("told", what, unknown, cure="they cannot be learned; AP counts them as 0")


def _counts(content: annotations.Annotations) -> collections.Counter[str]:
    counts = collections.Counter[str]()
    for image in content.images:
        for one in image.instances:
            if not one.is_crowd:
                counts[content.categories[one.label].name] += 1
    return counts
