"""What is drawn anew for each training image."""

import dataclasses
import math
import re
from collections.abc import Sequence

import numpy as np

from solojax.config import Augmentation
from solojax.data.annotations.suspicions import FEW
from solojax.recipe.decisions import Decision
from solojax.recipe.facts import Facts

# Views of each image from which on sizes vary, and by how much: times that at which an image just
# fits its canvas. Published trainings of 12 epochs take one size, of 36 some, of 100 many; below,
# each image is news as it is.
JITTERS = ((100, (0.6, 1.5)), (36, (0.8, 1.25)))
# Words in the names of classes: of those that a mirror makes another class, of those that it only
# makes unreadable.
SIDED = re.compile(r"(^|[^a-z])(left|right)([^a-z]|$)")
LEFT, RIGHT = (re.compile(f"(^|[^a-z]){one}([^a-z]|$)") for one in "lr")  # L_lung beside R_lung
WRITTEN = re.compile(r"(^|[^a-z])(text|letter|digit|number|word|plate|sign)s?([^a-z]|$)")
RARE = 10  # images with a class, below which it is pasted into others
COPY_PASTE = 0.5
SCARCE = 0.02  # share of the images with a class, below which they come more often


def choose(facts: Facts) -> tuple[Augmentation, list[Decision]]:
    """What the names and the counts of the classes ask for: mirrors, pasted instances."""
    names = [one.name for one in facts.categories]
    sided = _sided(names)
    decisions = [
        Decision(
            "mirror",
            "no" if sided else "half of the images",
            f"class {sided[0]!r} is wrong in a mirror"
            if sided
            else "no class name has sides, and few are of something written",
        ),
    ]
    few = [
        (names[label], int(count))
        for label, count in enumerate(facts.class_instances)
        if count < FEW
    ]
    if few:
        listed = ", ".join(f"{name} {count}" for name, count in few[:3])
        decisions.append(
            Decision(
                "few examples",
                f"{len(few)} of {len(names)} classes",
                f"have fewer than {FEW} ({listed}): expect nothing of them; label more",
                doubtful=True,
            )
        )
    augmentation = Augmentation(
        flip_probability=0.0 if sided else 0.5,
        copy_paste_probability=COPY_PASTE if _rare(facts) else 0.0,
    )
    return augmentation, decisions


def vary(drawn: Augmentation, facts: Facts, views: float) -> tuple[Augmentation, list[Decision]]:
    """What ``choose`` asks for, as far as so many views of each image are worth it."""
    seen = f"{views:.0f} views of each image"
    sizes = next((sizes for enough, sizes in JITTERS if views >= enough), None)
    if sizes is None:
        drawn = dataclasses.replace(drawn, copy_paste_probability=0.0)
        why = f"{seen}: below {JITTERS[-1][0]} it is news as it is, and nothing is pasted into it"
        return drawn, [Decision("scale jitter", "none", why)]
    why = f"{seen}, which are news at other sizes"
    decisions = [Decision("scale jitter", f"{sizes[0]} to {sizes[1]}", why)]
    if rare := _rare(facts):
        why = f"{len(rare)} classes are in fewer than {RARE} images, {rare[0][0]!r} in {rare[0][1]}"
        decisions.append(Decision("copy-paste", f"{drawn.copy_paste_probability:g}", why))
    return dataclasses.replace(drawn, scale_range=sizes), decisions


def balance(facts: Facts) -> tuple[float, list[Decision]]:
    """The share of images with a class, below which they come more often; 0: none is so rare."""
    shares = facts.class_images / max(len(facts.sizes), 1)
    scarce = np.flatnonzero((shares > 0) & (shares < SCARCE))
    if not len(scarce):
        return 0.0, []
    rarest = int(scarce[np.argmin(shares[scarce])])
    name, count = facts.categories[rarest].name, int(facts.class_images[rarest])
    why = (
        f"{len(scarce)} classes are in fewer than {SCARCE:.0%} of the images, {name!r} in {count}: "
        f"theirs come up to {math.sqrt(SCARCE / shares[rarest]):.1f} times an epoch, by the root "
        "of what is missing"
    )
    return SCARCE, [Decision("repeats", f"below {SCARCE:.0%}", why)]


def _rare(facts: Facts) -> list[tuple[str, int]]:
    """Classes in few images, of several, with how many those are."""
    counts = zip(facts.categories, facts.class_images.tolist(), strict=True)
    rare = [(one.name, count) for one, count in counts if 0 < count < RARE]
    return rare if len(facts.categories) > 1 else []


def _sided(names: Sequence[str]) -> list[str]:
    """Classes that are wrong in a mirror: of a side, or of something written where most are."""
    words = [re.sub("(?<=[a-z])(?=[A-Z])", " ", name).lower() for name in names]  # LeftArm

    def mirrored(said: str) -> set[str]:
        return {LEFT.sub(r"\1r\2", said), RIGHT.sub(r"\1l\2", said)} - {said}

    sided = [
        name
        for name, said in zip(names, words, strict=True)
        if SIDED.search(said) or not mirrored(said).isdisjoint(words)
    ]
    written = [
        name
        for name, said in zip(names, words, strict=True)
        if WRITTEN.search(said) or (len(said.strip()) == 1 and said.strip().isalnum())
    ]
    return sided or (written if 2 * len(written) >= len(names) else [])
