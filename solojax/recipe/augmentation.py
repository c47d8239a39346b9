"""What is drawn anew for each training image."""

import re
from collections.abc import Sequence

from solojax.config import Augmentation
from solojax.data.annotations.suspicions import FEW
from solojax.recipe.decisions import Decision
from solojax.recipe.facts import Facts

JITTER = (0.6, 1.5)  # times the size at which an image just fits its canvas
# Words in the names of classes: of those that a mirror makes another class, of those that it only
# makes unreadable.
SIDED = re.compile(r"(^|[^a-z])(left|right)([^a-z]|$)")
WRITTEN = re.compile(r"(^|[^a-z])(text|letter|digit|number|word|plate|sign)s?([^a-z]|$)")
RARE = 10  # images with a class, below which it is pasted into others
COPY_PASTE = 0.5


def choose(facts: Facts) -> tuple[Augmentation, list[Decision]]:
    """Mirrors, sizes, pasted instances: by the names and the counts of the classes."""
    names = [one.name for one in facts.categories]
    sided = _sided(names)
    decisions = [
        Decision("scale jitter", f"{JITTER[0]} to {JITTER[1]}", "the same objects at more sizes"),
        Decision(
            "mirror",
            "no" if sided else "half of the images",
            f"class {sided[0]!r} is wrong in a mirror"
            if sided
            else "no class name has sides, and few are of something written",
        ),
    ]
    rare = [
        (names[label], int(count))
        for label, count in enumerate(facts.class_images)
        if 0 < count < RARE
    ]
    pasted = 0.0
    if rare and len(names) > 1:
        pasted = COPY_PASTE
        decisions.append(
            Decision(
                "copy-paste",
                f"{pasted:g}",
                f"{len(rare)} classes are in fewer than {RARE} images, {rare[0][0]!r} in "
                f"{rare[0][1]}",
            )
        )
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
        flip_probability=0.0 if sided else 0.5, scale_range=JITTER, copy_paste_probability=pasted
    )
    return augmentation, decisions


def _sided(names: Sequence[str]) -> list[str]:
    """Classes that are wrong in a mirror: of a side, or of something written where most are."""
    words = [re.sub("(?<=[a-z])(?=[A-Z])", " ", name).lower() for name in names]  # LeftArm
    sided = [name for name, said in zip(names, words, strict=True) if SIDED.search(said)]
    written = [
        name
        for name, said in zip(names, words, strict=True)
        if WRITTEN.search(said) or (len(said.strip()) == 1 and said.strip().isalnum())
    ]
    return sided or (written if 2 * len(written) >= len(names) else [])
