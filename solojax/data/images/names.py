"""Which image of a ground truth a file is, by its name, whose folders need not all be there."""

import collections
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath


class Names:
    """The names of images, to be looked up.

    Args:
      names: by image id, as a JSON has them; empty ones are none.
    """

    def __init__(self, names: Mapping[int, str]):
        self.of_id = {image_id: name for image_id, name in names.items() if name}
        self._by_base: dict[str, list[tuple[tuple[str, ...], int]]] = collections.defaultdict(list)
        for image_id, name in self.of_id.items():
            if parts := _parts(name):
                self._by_base[parts[-1]].append((parts, image_id))

    def find(self, name: str) -> int | None:
        """The image id of what is called so, None where nothing is.

        Of several files of that name it is the one that shares most folders, counted from the file;
        of these the one that has no others.

        Raises:
          ValueError: several share as many; the message names two.
        """
        parts = _parts(name)
        candidates = self._by_base.get(parts[-1], []) if parts else []
        if not candidates:
            return None
        # Sameness, from what matters most to what matters least.
        ranks = [
            (_common(parts, other), len(other) == _common(parts, other)) for other, _ in candidates
        ]
        best = [i for rank, (_, i) in zip(ranks, candidates, strict=True) if rank == max(ranks)]
        if len(best) > 1:
            one, other = (f"{self.of_id[i]!r} (image {i})" for i in best[:2])
            raise ValueError(f"{name!r} may be {one} or {other}; give it with its folder")
        return best[0]

    def agree(self, name: str, image_id: int) -> bool:
        """Whether the folders, as far as both names have them, are the same."""
        one, other = _parts(name), _parts(self.of_id[image_id])
        return _common(one, other) == min(len(one), len(other))


def _parts(name: str) -> tuple[str, ...]:
    """Of a path of any system; macOS writes accents as letters of their own."""
    return PurePosixPath(unicodedata.normalize("NFC", name).replace("\\", "/")).parts


def _common(one: Iterable[str], other: Iterable[str]) -> int:
    """How many parts are the same, from the last on."""
    pairs = zip(reversed(tuple(one)), reversed(tuple(other)), strict=False)
    count = 0
    for first, second in pairs:
        if first != second:
            break
        count += 1
    return count


def folded(name: str) -> str:
    """A name without what systems and people spell in several ways: accents, case, blanks."""
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())
