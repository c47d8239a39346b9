"""Reads the lists of a JSON element by element.

Parsed at once, a file of gigabytes takes several times as much memory, and holds Python's lock for
most of a minute, in which no other thread does anything.
"""

import codecs
import json
import os
import stat
from collections.abc import Iterator
from typing import Any

from etils.epath import Path

from solojax import progress
from solojax.data.images import faults as image_faults
from solojax.types import InputError

CHUNK = 2**22  # bytes that are read at once
MARGIN = 16  # characters before the end of a chunk where a fault may be nothing but the cut
SPACE = " \t\n\r"
INSTANCES, PANOPTIC = "COCO instances file", "panoptic JSON"
CURES = {
    INSTANCES: "give the JSON of a COCO instances set, or make one by data import",
    PANOPTIC: "give one, or a folder of label maps",
}


def elements(
    path: Path, names: tuple[str, ...], title: str, form: str = INSTANCES
) -> Iterator[tuple[str, int, Any]]:
    """The elements of the lists ``names`` of a JSON object, in the order of the file.

    Text is UTF-8, UTF-16 or UTF-32, by its first bytes.

    Args:
      path: of the JSON.
      names: of its lists.
      title: what the progress bar says.
      form: what the file should be, of ``CURES``.

    Yields:
      The name of a list, the place of an element in it, and the element.

    Raises:
      InputError: the file cannot be read, is no JSON (the place is named), no object, or lacks a
        list.
    """
    missing = set(names)
    with _Text(path, title) as text:
        if text.peek() != "{":
            kind = "a list" if text.peek() == "[" else f"{text.value()!r:.40}"
            raise InputError(
                f"{path} is not a {form}: it holds {kind} where an object with the "
                f"lists {', '.join(names)} is wanted; {CURES[form]}"
            )
        for name in text.keys():
            if name not in names:
                text.value()
            elif name not in missing:
                raise InputError(f"{path}: {text.where()}: there is a second list {name!r}")
            elif text.peek() != "[":
                found = f"{text.value()!r:.40}"
                raise InputError(
                    f"{path} is not a {form}: it has no list {name!r} but {found}; {CURES[form]}"
                )
            else:
                missing.remove(name)
                for number, element in enumerate(text.list()):
                    yield name, number, element
    for name in names:
        if name in missing:
            raise InputError(f"{path} is not a {form}: it has no list {name!r}; {CURES[form]}")


def open_bytes(path: Path) -> Any:
    """Opens a JSON that a user named.

    Raises:
      InputError: there is no such file, or it cannot be read.
    """
    try:
        if "://" not in str(path) and not path.is_dir() and not stat.S_ISREG(os.stat(path).st_mode):
            raise InputError(f"{path} cannot be read: it is a pipe or a device; give a file")
        return path.open("rb")
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; set data.root, data.train_json or data.val_json"
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


class _Text:
    """The text of a JSON, of which no more is held than one element and one chunk."""

    def __init__(self, path: Path, title: str):
        self._path = path
        self._file = open_bytes(path)
        self._bar = progress.bar(
            desc=title, total=Path(path).stat().length, unit="B", unit_scale=True
        )
        self._text, self._place = "", 0
        self._lines, self._column, self._before = 1, 1, 0  # where the text begins, characters
        self._bytes, self._ended = 0, False
        self._decoder: codecs.IncrementalDecoder | None = None
        self._decode = json.JSONDecoder().raw_decode

    def __enter__(self) -> "_Text":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._bar.close()

    def keys(self) -> Iterator[str]:
        """The keys of the object here; each time one comes, its value has to be read."""
        self._take("{")
        if self.peek() != "}":
            while True:
                if self.peek() != '"':
                    self._fail("a name in quotes is wanted")
                name = self.value()
                self._take(":")
                yield name
                if self.peek() != ",":
                    break
                self._take(",")
        self._take("}")
        if self.peek():
            self._fail("there is more behind the end of the object")

    def list(self) -> Iterator[Any]:
        """The elements of the list here."""
        self._take("[")
        if self.peek() != "]":
            while True:
                yield self.value()
                if self.peek() != ",":
                    break
                self._take(",")
        self._take("]")

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            text, place = self._text, self._place
            while place < len(text) and text[place] in SPACE:
                place += 1
            self._place = place
            if place < len(text):
                return text[place]
            if not self._more():
                return ""

    def value(self) -> Any:
        """The value here."""
        self.peek()
        while True:
            place = self._place
            try:
                value, end = self._decode(self._text, self._place)
            except json.JSONDecodeError as error:
                self._more_or_fail(error.pos, error.msg, error.msg.startswith("Unterminated"))
            except RecursionError:
                self._fail("lists or objects lie in each other too deep")
            except ValueError as error:  # of digits without end
                self._fail(str(error).split(";")[0])
            else:
                # A number that ends with the chunk may go on in the next.
                if end < len(self._text) or not self._more():
                    self._place += end - place
                    return value

    def where(self) -> str:
        """The place of the next character."""
        text, place = self._text, self._place
        line = self._lines + text.count("\n", 0, place)
        last = text.rfind("\n", 0, place)
        column = place - last if last >= 0 else self._column + place
        return f"line {line}, column {column} (character {self._before + place})"

    def _more_or_fail(self, place: int, what: str, cut: bool = False) -> None:
        """Goes on where a fault may come of the end of the chunk, and says what it is elsewhere."""
        behind = place - self._place
        cut = cut or len(self._text) - place < MARGIN
        if not (cut and self._more()):
            self._place += behind
            self._fail(what[0].lower() + what[1:])

    def _take(self, character: str) -> None:
        if self.peek() != character:
            self._fail(f"{character!r} is wanted")
        self._place += 1

    def _more(self) -> bool:
        """Drops what was read and appends a chunk; False at the end."""
        if self._ended:
            return False
        text, place = self._text, self._place
        last = text.rfind("\n", 0, place)
        self._column = place - last if last >= 0 else self._column + place
        self._lines += text.count("\n", 0, place)
        self._before += place
        rest = text[place:]
        # An element that is longer than all before is not tried again for every chunk of it.
        encoded = self._file.read(max(CHUNK, len(rest)))
        self._bar.update(len(encoded))
        if self._decoder is None:
            if told := image_faults.describe_stranger(encoded, CURES[INSTANCES]):
                raise InputError(f"{self._path} is not JSON: {told}")
            # The first bytes tell, as RFC 4627 has it.
            self._decoder = codecs.getincrementaldecoder(json.detect_encoding(encoded[:4]))()
        self._ended = not encoded
        try:
            decoded = self._decoder.decode(encoded, self._ended)
        except UnicodeDecodeError as error:
            wrong = error.object[error.start : error.start + 1].hex()
            raise InputError(
                f"{self._path} is not JSON: it is not {error.encoding.upper()}, byte "
                f"{self._bytes + error.start} is 0x{wrong}; save it as UTF-8"
            ) from None
        self._bytes += len(encoded)
        self._text, self._place = rest + decoded, 0
        return bool(decoded) or self._more()

    def _fail(self, what: str) -> None:
        if not self.peek():
            what = "the file ends here; it is empty or cut, copy it again"
        raise InputError(f"{self._path} is not JSON: {self.where()}: {what}")
