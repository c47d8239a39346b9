"""What a set is refused for, or what is left out of it where ``data.faults`` asks for that.

An import asks by ``--faults``, and heeds the same limit.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from solojax import config
from solojax.data.findings import Findings
from solojax.types import InputError


class Words(NamedTuple):
    """How people ask for what is at fault to be left out, and for how much of it."""

    skip: str  # the end of a line that refuses
    share: str


OF_CONFIG = Words(", or leave them out by data.faults=skip", "data.most_skipped=")
OF_FILE = Words(" or take them out of the file", "")  # of what is no set of a config
OF_IMPORT = Words(", or leave out what is so by --faults skip", "--most-skipped ")


class LeftOut(NamedTuple):
    """An image with all that is in it, or annotations of one that stays."""

    reason: str
    image_id: Any
    file_name: str
    annotation_ids: list[Any]


class Faults:
    """Collects the images and annotations that cannot be taken as they are."""

    def __init__(self, data: config.Data, words: Words = OF_CONFIG) -> None:
        self.data, self._words = data, words
        self.left_out: list[LeftOut] = []
        self._found = Findings()
        self._told: list[str] = []
        self.images = self._annotations = 0
        self.shares: list[tuple[str, int, int]] = []  # what is left out, how many of how many

    def add_image(
        self, what: str, image_id: Any, name: str, ids: list[Any], value: str = "", cure: str = ""
    ) -> None:
        """Counts an image that is left out with its annotations ``ids``.

        Ids that are added to the list later on are listed as well.
        """
        self.images += 1
        place = f"image {image_id} ({name})" + (f": {value}" if value else "")
        self._found.add("lost", what, place, cure=cure)
        self.left_out.append(LeftOut(what + (f": {value}" if value else ""), image_id, name, ids))

    @contextlib.contextmanager
    def one_image(self, name: str) -> Iterator[None]:
        """Leaves out an image if what is done inside ends with an InputError.

        Where that is not asked for, it ends with that error and the way to ask.
        """
        try:
            yield
        except InputError as fault:
            if self.data.faults == "fail":
                raise type(fault)(f"{fault}{self._words.skip}") from fault
            self.images += 1
            self._found.add("lost", "images left out", str(fault))
            self.left_out.append(LeftOut(str(fault), None, name, []))

    def add_annotation(self, what: str, annotation_id: Any, image_id: Any, value: str = "") -> None:
        """Counts an annotation that is left out, with the value that is at fault."""
        self._annotations += 1
        place = f"annotation {annotation_id}" + (f": {value}" if value else "")
        self._found.add("lost", what, place)
        self.note(what + (f": {value}" if value else ""), annotation_id, image_id)

    def add_class(self, what: str, place: str, cure: str) -> None:
        """Counts a category that is left out; of its annotations it is told as they are read."""
        self._found.add("lost", what, place, cure=cure)

    def explain(self, why: str) -> None:
        """Says what is likely wrong with all of what is left out."""
        self._found.add("doubtful", why)

    def note(self, reason: str, annotation_id: Any, image_id: Any) -> None:
        """Lists an annotation that is left out whatever ``data.faults`` says."""
        self.left_out.append(LeftOut(reason, image_id, "", [annotation_id]))

    def settle(
        self,
        where: Any,
        images: int,
        annotations: int,
        findings: Findings,
    ) -> None:
        """Refuses a set of so many images and annotations, or tells of what is left out of it.

        What was told at an earlier call counts, and is not told again but where it is refused.
        """
        self.shares = [
            ("images", self.images, images),
            ("annotations", self._annotations, annotations),
        ]
        found = list(self._found)
        if not found:
            return
        self._told += map(str, found)
        told = "; ".join(self._told)
        if self.data.faults == "fail":
            raise InputError(f"{where}: {told}; mend them{self._words.skip}")
        check(self.shares, where, self.data, told, self._words)
        findings.take(found)
        self._found = Findings()


def check(shares: Any, where: Any, data: config.Data, told: str, words: Words = OF_CONFIG) -> None:
    """Refuses a set of which more is left out than ``data.most_skipped`` allows."""
    for what, left, whole in shares:
        if left > data.most_skipped * whole:
            raise InputError(
                f"{where}: {left} of {whole} {what} cannot be taken, more than "
                f"{words.share}{data.most_skipped:g} of them: {told}"
            )
