"""From a folder, a budget and this machine to a config, each decision told with its reason."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from solojax import config as config_lib
from solojax import device_memory
from solojax.data.records import coco
from solojax.recipe import build, canvas, code, decisions, network, pace, picture, source
from solojax.recipe.decisions import Decision
from solojax.recipe.facts import Facts, collect
from solojax.recipe.schedule import Budget
from solojax.training import memory
from solojax.types import InputError

SIDE = "data.test_short_side"
FEW_VAL = 10  # images, on which a score says little
MOST_PARTS = 8  # that a step is taken in for want of memory


class Wishes(NamedTuple):
    """What a person decides."""

    budget: Budget
    weights: str = ""  # of an ImageNet classifier, or a run (``hub.folder_of``); empty for none
    gib: float | None = None  # memory of a device, as for ``device_memory.room``
    overrides: Sequence[str] = ()  # fields of the config


class Plan(NamedTuple):
    """What to train, and why."""

    config: config_lib.Config
    decisions: list[Decision]
    picture: str  # an SVG

    def __str__(self) -> str:
        return "\n".join(decisions.lines(self.decisions))

    def code(self, command: str) -> str:
        """The config as Python, with the reasons at its head."""
        return code.write(self.config, [f"Decided by `{command}`:", "", *str(self).split("\n")])


def make(folder: Path, workdir: Path, wishes: Wishes) -> Plan:
    """Looks at a folder and at this machine, and decides the rest.

    Args:
      folder: a COCO folder, or a set in another form.
      workdir: the run folder; a set in another form is written into it as a COCO folder.
      wishes: what is decided already.

    Raises:
      InputError: the folder, the weights or an override cannot be taken.
    """
    budget, weights, gib, overrides = wishes
    networks, is_run = network.from_weights(weights) if weights else (network.scratch(), False)
    of_data = [
        one.strip().removeprefix("data.") for one in overrides if _field(one).startswith("data.")
    ]
    data, told = source.open_folder(folder, workdir, of_data)
    records, val = coco.prepare(data, "train"), coco.prepare(data, "val")
    facts = collect(records, val)
    told += [_counted(facts), *_doubts(facts)]
    if tiled := canvas.tile_side(facts):
        side, reason = tiled
        data, left = source.cut(data, side, workdir)
        if left:
            reason += f"; {left:,} empty ones are left out, so that half have an object"
        told.append(Decision("tiles", f"{side} pixels", f"{reason}; predict with --tiles {side}"))
        records, val = coco.prepare(data, "train"), coco.prepare(data, "val")
        facts = collect(records, val)
        told.append(_counted(facts))
    asked = data.test_short_side if SIDE in map(_field, overrides) else 0
    subject = build.Subject(facts, data, records, weights, is_run, asked)
    if budget.steps:
        paced = pace.by_steps(subject, networks, budget.steps)
    else:
        paced = pace.by_time(subject, networks, budget.seconds)
    config, why = build.build(subject, paced.layout, paced.chosen, paced.steps, paced.evaluations)
    config = config_lib.override(config, *still_open(overrides))
    told += [*paced.decisions, *why]
    if overrides:
        told.append(Decision("given", "by --set", " ".join(overrides)))
    config, parts = _fit_memory(config, device_memory.room(gib))
    return Plan(config, told + parts, picture.draw(facts, config))


def still_open(overrides: Sequence[str]) -> list[str]:
    """Those of a config whose set is found: where it lies is no longer open."""
    found = [f"data.{name}" for name in ("root", *source.PLACES)]
    return [one for one in overrides if _field(one) not in found]


def _field(override: str) -> str:
    return override.partition("=")[0].strip()


def _fit_memory(
    config: config_lib.Config, limit: int | None
) -> tuple[config_lib.Config, list[Decision]]:
    """Takes a step in as many parts as the memory of a device asks for, where it is known."""
    if limit is None:
        return config, []
    largest = max(config.data.canvases, key=math.prod)
    parts = 1
    while parts <= MOST_PARTS:
        changed = dataclasses.replace(
            config, training=dataclasses.replace(config.training, accumulate=parts)
        )
        need = memory.try_step(changed, largest)
        if need and need.peak <= limit:
            why = f"{need.peak / 2**30:.1f} of {limit / 2**30:.1f} GiB of a device"
            return changed, [Decision("memory", f"{parts} parts a step", why)]
        parts *= 2
    raise InputError(
        f"a step in {MOST_PARTS} parts does not fit into {limit / 2**30:.1f} GiB of a device; give "
        "--set data.test_short_side=SIDE, a smaller one"
    )


def _counted(facts: Facts) -> Decision:
    most = int(facts.per_image.max(initial=0))
    return Decision(
        "found",
        f"{len(facts.sizes)} + {facts.val_images} images",
        f"for training and validation; {len(facts.images)} objects of {len(facts.categories)} "
        f"classes, up to {most} in an image",
    )


def _doubts(facts: Facts) -> list[Decision]:
    """What speaks against scores on these validation images."""
    told, count = [], facts.val_images
    if facts.copies:
        why = "are training images, byte for byte: AP on them says little; take them out of one"
        told.append(Decision("seen before", f"{facts.copies} of {count} for validation", why, True))
    if count < FEW_VAL:
        why = "for validation: by chance AP will be anything; label more"
        told.append(Decision("few images", f"{count}", why, True))
    return told
