"""The JSON files that programs write results into: a list, or one inside of something else."""

import json
from pathlib import Path
from typing import Any

from solojax.data.findings import Findings
from solojax.data.images import faults as image_faults
from solojax.evaluation.results import truths
from solojax.types import InputError

CURE = "give the JSON of COCO's results"
LISTS = ("annotations", "predictions", "results", "detections")  # what exporters call them


def read(path: Path, findings: Findings) -> list[Any]:
    """The entries of a results file, unchecked.

    They stand in a list, or in the one list of an object that holds some: a COCO instances file
    of what was found does, and names its images, whose names go to the entries.

    Raises:
      InputError: the file is missing, no JSON, or has not one such list.
    """
    truths.check_file(path)
    encoded = b""
    try:
        encoded = path.read_bytes()
        content = json.loads(encoded)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        content = _read_lines(encoded)
        if content is None:
            told = image_faults.describe_stranger(encoded, CURE) or error
            raise InputError(f"{path} is not JSON: {told}") from error
        findings.add("told", f"results are read from the lines of {path}", count=len(content))
    if isinstance(content, list):
        if content and all(isinstance(one, list) for one in content):
            what = f"results are read from lists in the list of {path}"
            content = [entry for here in content for entry in here]
            findings.add("told", what, count=len(content))
        if not (len(content) == 1 and any(_lists(content[0]).get(key) for key in LISTS)):
            return content
        content = content[0]
    lists = {key: value for key, value in _lists(content).items() if _are_results(key, value)}
    if not lists:
        scoreless = any(isinstance(one, dict) for one in _lists(content).get("annotations", []))
        truth = "; its annotations have no score: is it a ground truth?" if scoreless else ""
        raise InputError(f"{path} is not a COCO results file: it holds no list of results{truth}")
    if all(_are_of(key, entries) for key, entries in lists.items()):
        together = [one for entries in lists.values() for one in entries]
        what = f"results are read from the lists of {path}, one an image"
        findings.add("told", what, count=len(together))
        return together
    if len(lists) > 1:
        raise InputError(
            f"{path} holds {len(lists)} lists that may be the results: {', '.join(lists)}; give "
            "the right one alone"
        )
    ((key, entries),) = lists.items()
    findings.add("told", f"results are read from {key!r} of {path}", count=len(entries))
    _name_images(entries, content.get("images"))
    return entries


def _read_lines(encoded: bytes) -> list[Any] | None:
    """The objects of JSON Lines, None where it holds none."""
    try:
        found = [json.loads(line) for line in encoded.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        return None
    return found if len(found) > 1 and all(isinstance(one, dict) for one in found) else None


def _are_of(key: str, entries: list[Any]) -> bool:
    """Whether all are results of the image whose id the list is called by."""
    ours = (isinstance(one, dict) and str(one.get("image_id")) == key for one in entries)
    return bool(entries) and all(ours)


def _lists(content: Any) -> dict[str, list[Any]]:
    pairs = content.items() if isinstance(content, dict) else ()
    return {key: value for key, value in pairs if isinstance(value, list)}


def _are_results(key: str, entries: list[Any]) -> bool:
    """Whether it may be a list of results; an empty one goes by what it is called."""
    if not entries:
        return key in LISTS
    return isinstance(entries[0], dict) and {"image_id", "score"} <= entries[0].keys()


def _name_images(entries: list[Any], images: Any) -> None:
    """Gives results the file names that a list beside them has for their image ids."""
    names = {
        repr(image.get("id")): image["file_name"]
        for image in (images if isinstance(images, list) else [])
        if isinstance(image, dict) and isinstance(image.get("file_name"), str)
    }
    for entry in entries:
        if isinstance(entry, dict) and repr(entry.get("image_id")) in names:
            entry.setdefault("file_name", names[repr(entry["image_id"])])
