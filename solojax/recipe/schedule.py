"""How long, how fast and in what steps: from a budget and what the machine does in it."""

import dataclasses
import re
from typing import NamedTuple

from solojax.config import Optimizer
from solojax.recipe.decisions import Decision
from solojax.training.optimizer import MUON_ADAM_FACTOR
from solojax.types import InputError

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MOST_DAYS = 366  # of a budget
WARMUP = 0.04  # share of the steps in which the rate rises
BACKBONE, SLOWED = "backbone/*", 0.1  # where it is pretrained, its part of Adam's rate
AVERAGED = 0.04  # share of the steps that the average of the parameters looks back


class Budget(NamedTuple):
    """What a training may take: one of the two is given."""

    seconds: float = 0.0
    steps: int = 0


def read_budget(text: str) -> Budget:
    """``30m``, ``2h``, ``1.5h``, ``steps=2000``.

    Raises:
      InputError: it is none of these.
    """
    if found := re.fullmatch(r"steps=([0-9]{1,9})", text.strip()):
        if steps := int(found[1]):
            return Budget(steps=steps)
    elif found := re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]*)?|\.[0-9]+)([smhd])", text.strip().lower()):
        seconds = float(found[1]) * UNITS[found[2]]
        if seconds > MOST_DAYS * UNITS["d"]:
            raise InputError(f"--budget {text} is more than {MOST_DAYS} days; give less")
        if seconds:
            return Budget(seconds=seconds)
    raise InputError(f"--budget {text} is no time such as 30m or 2h, and no steps=2000")


def round_steps(steps: float) -> int:
    """Two digits of it: a machine is not the same twice, and a plan should be."""
    digits = max(len(str(int(steps))) - 2, 0)
    return max(int(steps) // 10**digits * 10**digits, 1)


def optimizer_of(
    steps: int, batch_size: int, pretrained: bool = False
) -> tuple[Optimizer, list[Decision]]:
    """The optimizer for a training of so many steps, from pretrained weights or from scratch."""
    warmup = max(round(WARMUP * steps), 1)
    decay = round(min(max(1 - 1 / (AVERAGED * steps), 0.5), 0.9999), 5)
    optimizer = Optimizer(
        algorithm="muon",
        learning_rate=0.02,
        base_batch_size=8,
        weight_decay=1e-2,
        decay_norms=False,
        decay_biases=False,
        schedule="cosine",
        warmup_steps=warmup,
        clip_norm=10,
        ema_decay=decay,
    )
    decisions = [
        Decision(
            "optimizer",
            f"Muon, {optimizer.learning_rate * batch_size / 8:g}",
            f"learns in a fraction of SGD's steps; {optimizer.learning_rate:g} for 8 images, "
            "in proportion to the batch; cosine to zero",
        ),
        Decision(
            "warm-up",
            f"{warmup} steps",
            f"{warmup * batch_size} images, {warmup / steps:.0%} of the training; the published "
            "500 steps are 8,000 images",
        ),
        Decision(
            "average",
            f"{decay:g}",
            f"of the parameters over {1 / (1 - decay):.0f} steps is what is evaluated and kept",
        ),
    ]
    if pretrained:
        optimizer = dataclasses.replace(
            optimizer, by_adam=(BACKBONE,), rate_factors=((BACKBONE, SLOWED),)
        )
        rate = MUON_ADAM_FACTOR * SLOWED * optimizer.learning_rate * batch_size / 8
        decisions.append(
            Decision(
                "backbone",
                f"AdamW, {rate:g}",
                "its weights know pictures already, and Muon would take two fifths more time for "
                "them",
            )
        )
    return optimizer, decisions
