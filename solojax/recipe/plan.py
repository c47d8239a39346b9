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
    data, told = source.open_folder(folder, workdir)
    records, val = coco.prepare(data, "train"), coco.prepare(data, "val")
    facts = collect(records, len(val.image_ids))
    told.append(_counted(facts))
    if tiled := canvas.tile_side(facts):
        side, reason = tiled
        told.append(Decision("tiles", f"{side} pixels", f"{reason}; predict with --tiles {side}"))
        data = source.cut(data, side, workdir)
        records, val = coco.prepare(data, "train"), coco.prepare(data, "val")
        facts = collect(records, len(val.image_ids))
        told.append(_counted(facts))
    subject = build.Subject(facts, data, records, weights, is_run)
    if budget.steps:
        paced = pace.by_steps(subject, networks, budget.steps)
    else:
        paced = pace.by_time(subject, networks, budget.seconds)
    config, why = build.build(subject, paced.layout, paced.chosen, paced.steps, paced.evaluations)
    config = config_lib.override(config, *overrides)
    told += [*paced.decisions, *why]
    if overrides:
        told.append(Decision("given", "by --set", " ".join(overrides)))
    config, parts = _fit_memory(config, device_memory.room(gib))
    return Plan(config, told + parts, picture.draw(facts, config))


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
        f"a step in {MOST_PARTS} parts does not fit into {limit / 2**30:.1f} GiB of a device; set "
        "a smaller data.test_short_side and canvases"
    )


def _counted(facts: Facts) -> Decision:
    most = int(facts.per_image.max(initial=0))
    return Decision(
        "found",
        f"{len(facts.sizes)} + {facts.val_images} images",
        f"for training and validation; {len(facts.images)} objects of {len(facts.categories)} "
        f"classes, up to {most} in an image",
    )
