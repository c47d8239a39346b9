"""For the API reference: what the comments above and behind the fields of a class say of them."""

import re
from pathlib import Path
from typing import Any

import griffe

COMMENT = re.compile(r"\s*# (.*)")
TRAILING = re.compile(r".*  # (.*)")


class FieldComments(griffe.Extension):
    """Adds to the docstring of a class its fields, with their comments and what they are else."""

    def on_class(self, *, cls: griffe.Class, **rest: Any) -> None:
        """Called for each class, once all is read."""
        if not cls.docstring or not isinstance(cls.filepath, Path):
            return
        lines = cls.lines_collection[cls.filepath]
        fields = []
        for name, field in cls.attributes.items():
            first, last = field.lineno, field.endlineno
            if name.startswith("_") or field.docstring or not (field.annotation and first and last):
                continue
            said = [comment(lines, first, last)]
            if field.value is not None and "dataclass" not in cls.labels:  # else its call tells it
                said.append(f"Default `{' '.join(str(field.value).split())}`.")
            if any(said):
                fields.append(f"    {name}: {' '.join(filter(None, said))}")
        if fields:
            cls.docstring.value += "\n\n" + "\n".join(["Attributes:", *fields])


def comment(lines: list[str], first: int, last: int) -> str:
    """As a sentence, that of the field on these lines, counted from 1; empty where it has none."""
    said: list[str] = []
    above = first - 2
    while found := COMMENT.fullmatch(lines[above]):
        said.insert(0, found[1])
        above -= 1
    if found := TRAILING.fullmatch(lines[last - 1]):
        said.append(found[1])
    text = " ".join(said)
    return text and text.rstrip(".") + "."
