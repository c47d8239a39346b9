"""What people should hear of a data set: counted, with the first places, and what cures it."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from solojax.types import escaped

LISTED = 20  # of many places, the first so many are named

Effect = Literal["told", "repaired", "lost", "doubtful"]
"""``told``: nothing follows; ``repaired``: read in the one way it can be meant; ``lost``: left out;
``doubtful``: read as it is written, and likely wrong."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One kind of thing that was found, however often."""

    effect: Effect
    what: str  # such as "instances skipped: mask without a pixel"
    cure: str  # what to do, empty where there is nothing to do
    count: int
    places: tuple[str, ...]  # the first LISTED, such as "annotation 3" or a file

    def __str__(self) -> str:
        places = shorten(self.places, self.count, ", ")
        return escaped(
            ("likely wrong: " if self.effect == "doubtful" else "")
            + f"{self.count} {self.what}"
            + (f" ({places})" if places else "")
            + (f"; {self.cure}" if self.cure else "")
        )


class Findings:
    """Collects findings while a set is read; equal ones are counted together."""

    def __init__(self) -> None:
        self._found: dict[tuple[Effect, str, str], tuple[int, list[str]]] = {}

    def add(
        self, effect: Effect, what: str, place: str = "", *, cure: str = "", count: int = 1
    ) -> None:
        """Counts one more, or ``count`` of them, of which one lies at ``place``."""
        before, places = self._found.get((effect, what, cure), (0, []))
        if place and len(places) < LISTED:
            places.append(place)
        self._found[effect, what, cure] = before + count, places

    def add_all(
        self,
        effect: Effect,
        what: str,
        places: Sequence[str],
        *,
        cure: str = "",
        count: int | None = None,
    ) -> None:
        """Counts each place, or ``count`` of them of which these are the first."""
        for place in places[:LISTED]:
            self.add(effect, what, place, cure=cure)
        rest = (len(places) if count is None else count) - len(places[:LISTED])
        if rest > 0:
            self.add(effect, what, cure=cure, count=rest)

    def take(self, others: Iterable[Finding]) -> None:
        """Counts what others have found."""
        for one in others:
            self.add_all(one.effect, one.what, one.places, cure=one.cure, count=one.count)

    def __iter__(self) -> Iterator[Finding]:
        for (effect, what, cure), (count, places) in self._found.items():
            yield Finding(effect, what, cure, count, tuple(places))


def shorten(places: tuple[str, ...] | list[str], count: int, separator: str = "; ") -> str:
    """The first of ``count`` places, and how many more there are."""
    shown = places[:LISTED]
    more = f"{separator}and {count - len(shown)} more" if shown and count > len(shown) else ""
    return separator.join(shown) + more
