"""What nobody meant to write: sound inputs with a few places spoilt, as JSON and as bytes."""

import copy
import functools
import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

# Each has been somebody's: of another type, too large, too deep, no number, not text of any file.
VALUES = st.one_of(
    st.sampled_from(
        [None, True, False, 0, -1, 1, 2, 2**31, 2**63, -(2**63), 10**400, 0.5, 1e308, -1e-320]
        + [float("nan"), float("inf"), -float("inf"), "", "0", "1", "²", "nan", "\0", "\ud800"]
        + ["../x", "/etc/passwd", "a\nb", "\r", "\x1b[2J", "\u2028", "a" * 300]
        + [[], {}, [[]], [[[]]], {"": {}}, [None], [[0.0] * 7]]
        + [[0, 0, 9, 0, 9, 9], [[0, 0, 9, 0, 9, 9]], {"size": [8, 9], "counts": [72]}]
        + ["[[1, 1, 7, 1, 4, 6]]", [[1e5, 0] * 50], [[1, 1], [7, 1], [4, 6]]]
        + [{"size": [8, 9], "counts": "0"}, {"size": [2**20, 2**20], "counts": "`0"}]
    ),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.floats(-1e6, 1e6) | st.integers(-(10**6), 10**6), max_size=9),
    st.builds(lambda depth: json.loads("[" * depth + "]" * depth), st.integers(1, 400)),
)


def spoilt(sound: Any) -> st.SearchStrategy[Any]:
    """Copies of a tree of dictionaries and lists, up to four places of which are something else."""
    places = list(_places(sound))
    edit = st.tuples(st.sampled_from(places), st.sampled_from(_EDITS), VALUES)
    return st.lists(edit, max_size=4).map(lambda edits: _edited(sound, edits))


def damage() -> st.SearchStrategy[Callable[[bytes], bytes]]:
    """Changes of bytes: some become others, are cut off, left out or written twice."""
    where = st.floats(0, 1, exclude_max=True)
    change = st.tuples(st.sampled_from(("set", "cut", "leave out", "repeat")), where, where, _BYTES)
    return st.lists(change, max_size=5).map(lambda changes: functools.partial(_damage, changes))


def damaged(*files: bytes) -> st.SearchStrategy[bytes]:
    """Bytes of one of the files, changed so."""
    return st.tuples(st.sampled_from(files), damage()).map(lambda drawn: drawn[1](drawn[0]))


_EDITS = ("put", "put", "put", "remove", "repeat", "wrap")
_BYTES = st.binary(min_size=1, max_size=4)


def _places(tree: Any, path: tuple = ()) -> Any:
    yield path
    if isinstance(tree, dict | list):
        for key in tree if isinstance(tree, dict) else range(len(tree)):
            yield from _places(tree[key], (*path, key))


def _edited(sound: Any, edits: list[tuple[tuple, str, Any]]) -> Any:
    tree = {"": copy.deepcopy(sound)}
    for path, edit, value in edits:
        owner: Any = tree
        *above, last = ("", *path)
        try:
            for key in above:
                owner = owner[key]
            owner[last]  # an earlier edit may have taken it away
        except (LookupError, TypeError):
            continue
        if isinstance(owner, str):
            continue
        if edit == "put":
            owner[last] = copy.deepcopy(value)
        elif edit == "wrap":
            owner[last] = [owner[last]]
        elif edit == "repeat" and isinstance(owner, list):
            owner.append(copy.deepcopy(owner[last]))
        elif edit == "remove" and path:
            del owner[last]
    return tree[""]


def _damage(changes: list[tuple[str, float, float, bytes]], content: bytes) -> bytes:
    for change, where, length, others in changes:
        start = int(where * len(content))
        end = start + 1 + int(length * (len(content) - start))
        if change == "set":
            content = content[:start] + others + content[start + len(others) :]
        elif change == "cut":
            content = content[:start]
        elif change == "leave out":
            content = content[:start] + content[end:]
        else:
            content = content[:end] + content[start:]
    return content
