"""Claims about taking validation images from a set that has none."""

from pathlib import Path

import pytest

from solojax.data import foreign
from solojax.data.foreign.divide import divide
from solojax.types import InputError
from tests.data.foreign.scene import BOX, found_in, put_any, put_drawing, shape


def put_set(source: Path, names: list[str], empty: int = 0) -> Path:
    for number, name in enumerate(names):
        put_drawing(source / f"{name}.json", *([shape("x", BOX)] if number >= empty else []))
    return source


def names_of(source: Path, share: float = 0.2) -> dict[str, list[str]]:
    found = divide(foreign.FORMS["labelme"](source), share)
    return {split: [p.name for p in content.pictures] for split, content in found.splits.items()}


def test_a_share_of_the_images_is_taken_by_their_names_alone(source: Path) -> None:
    found = names_of(put_set(source, [f"{i:02}" for i in range(20)]))
    assert found["val"] == ["02.png", "03.png", "04.png", "06.png"]
    assert found["train"] == [f"{i:02}.png" for i in range(20) if f"{i:02}.png" not in found["val"]]
    moved = put_set(source.with_name("moved"), [f"deep/{i:02}" for i in range(20)])
    assert [name.removeprefix("deep/") for name in names_of(moved)["val"]] == found["val"]


def test_an_accent_may_be_spelt_in_two_ways(source: Path) -> None:
    rest = [f"{i}" for i in range(9)]
    one, two = (
        names_of(put_set(source / folder, [accent, *rest]), 0.5)
        for folder, accent in (("1", "\u00e9"), ("2", "e\u0301"))
    )
    assert [name for name in one["val"] if name.isascii()] == [
        name for name in two["val"] if name.isascii()
    ]


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.5, 2), (0.99, 3)])
def test_each_side_gets_an_image_with_instances(share: float, count: int, source: Path) -> None:
    found = names_of(put_set(source, list("abcdefgh"), empty=4), share)
    filled = {f"{name}.png" for name in "efgh"}
    assert len(filled & set(found["val"])) == count
    assert len(set(found["val"]) - filled) == round(share * 4)


def test_it_is_told(source: Path) -> None:
    found = divide(foreign.FORMS["labelme"](put_set(source, list("abcde"))), 0.2)
    (what,) = found_in(found.splits["val"], "told")
    assert what.startswith("of 5 images taken for val by a hash of their file names")
    assert found.splits["val"].categories == found.splits["train"].categories


@pytest.mark.parametrize("share", [0, 1, -0.5, 20, float("nan")])
def test_share_must_be_one(share: float, source: Path) -> None:
    with pytest.raises(InputError, match="must lie between 0 and 1, as in --val 0.2"):
        names_of(put_set(source, ["a", "b"]), share)


def test_sets_that_cannot_be_divided_are_refused(source: Path) -> None:
    with pytest.raises(InputError, match="has 1 images with instances, and --val needs two"):
        names_of(put_set(source, ["a", "b"], empty=1))
    with pytest.raises(InputError, match="has a val of its own; leave --val out"):
        divide(foreign.FORMS["yolo"](put_any("yolo", source / "yolo")), 0.2)
