"""What network and what canvas learn enough within a budget of time on this machine."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

from solojax import config as config_lib
from solojax.recipe import build, canvas, network, schedule
from solojax.recipe.build import Subject
from solojax.recipe.decisions import Decision
from solojax.recipe.facts import Facts
from solojax.training import memory, speed

VIEWS = 4000  # images, repetitions included, that weights which know pictures need
SCRATCH_VIEWS = 12_000  # that none need
GROWN = (1.25, 1.5)  # of the wanted side, while there are four times as many
PLENTY = 4
EVALUATIONS = 4  # while it trains, the last included
EVALUATED = 0.1  # share of the budget for all of them
SCORING = 0.5  # time of an image in an evaluation, of its time in a training
STEADY = 0.95  # share of the time for steps that are steps
COMPILED = 1.5  # times that of a step: the network that evaluates as well
LEAST_STEPS = 50


class Pace(NamedTuple):
    """What fits."""

    chosen: network.Network
    layout: build.Layout
    steps: int
    evaluations: int
    decisions: list[Decision]


def by_steps(subject: Subject, networks: Sequence[network.Network], steps: int) -> Pace:
    """The network for so many steps, on the side that the data ask for."""
    views = steps * build.batch_size()
    chosen = [one for one in networks if one.views <= views][-1]
    side, why = _wanted(subject)
    decisions = [
        Decision("side", f"{side} pixels", why),
        Decision("network", chosen.name, _worth(networks, views)),
        Decision("schedule", f"{steps} steps of {build.batch_size()}", "as --budget says"),
        *_short(subject, views),
    ]
    return Pace(chosen, build.lay_out(subject, side), steps, EVALUATIONS, decisions)


def by_time(subject: Subject, networks: Sequence[network.Network], seconds: float) -> Pace:
    """The network, the side and the steps for so many seconds, by steps that are timed here."""
    wanted, why = _wanted(subject)
    enough = _enough(subject)
    batch = build.batch_size()

    layout = build.lay_out(subject, wanted)

    def config_of(chosen: network.Network) -> config_lib.Config:
        return build.build(subject, layout, chosen, 1000, EVALUATIONS)[0]

    @functools.cache
    def operations_of(chosen: network.Network) -> float:
        return memory.operations(config_of(chosen))

    timed = speed.measure(config_of(networks[0]), subject.records)

    def step_of(chosen: network.Network, side: int) -> float:
        """Seconds, by the operations of what was timed and of what is asked for."""
        times = 1.0
        if chosen != networks[0]:
            times = operations_of(chosen) / operations_of(networks[0])
        return timed.seconds * times * (side / wanted) ** 2

    def views_of(chosen: network.Network, side: int) -> float:
        return _left(timed, seconds) / step_of(chosen, side) * batch

    chosen, side = networks[0], wanted
    if views_of(chosen, side) < enough:
        least = wanted if subject.side else canvas.least_side(subject.facts)
        sides = range(wanted, least, -canvas.STEP)
        side = next((one for one in sides if views_of(chosen, one) >= enough), least)
    else:
        for wider in networks[1:]:
            if views_of(wider, side) < wider.views:
                break
            chosen = wider
        for factor in () if subject.side else GROWN:
            larger = round(wanted * factor / canvas.STEP) * canvas.STEP
            if (
                larger > canvas.most_side(subject.facts)
                or views_of(chosen, larger) < PLENTY * enough
            ):
                break
            side = larger
    left, step = _left(timed, seconds), step_of(chosen, side)
    scoring = subject.facts.val_images * step / batch * SCORING
    evaluations = int(min(EVALUATED * left // max(scoring, 1e-9), EVALUATIONS))
    left -= scoring * (evaluations + 1)  # and the report's at the end
    fitting = STEADY * left / step
    steps = schedule.round_steps(max(fitting, LEAST_STEPS))
    views, images = steps * batch, len(subject.facts.sizes)
    decisions = [
        Decision("side", f"{side} pixels", why + _moved(side, wanted, subject.facts)),
        Decision("network", chosen.name, _worth(networks, views)),
        Decision(
            "schedule",
            f"{steps} steps of {batch}",
            f"a step takes {step:.2g} s here, compiling {timed.compiling:.0f} s: "
            f"{views:,} views, {views / images:.0f} of each image, of {_minutes(seconds)}",
        ),
    ]
    if fitting < LEAST_STEPS:
        whole = COMPILED * timed.compiling + steps * step / STEADY + scoring * (evaluations + 1)
        why = f"at least, for {LEAST_STEPS} steps: less than that is no training"
        decisions.append(Decision("over budget", _minutes(whole), why, doubtful=True))
    decisions += _short(subject, views)
    if side != wanted:
        layout = build.lay_out(subject, side)
    return Pace(chosen, layout, steps, evaluations, decisions)


def _wanted(subject: Subject) -> tuple[int, str]:
    """The short side before the time is looked at, and why it is that."""
    if subject.side:
        return subject.side, "as data.test_short_side says"
    return canvas.wanted_side(subject.facts)


def _enough(subject: Subject) -> int:
    return VIEWS if subject.weights else SCRATCH_VIEWS


def _short(subject: Subject, views: int) -> list[Decision]:
    if views >= (enough := _enough(subject)):
        return []
    why = f"are fewer than the {enough:,} that usually take: give a larger --budget"
    if not subject.weights:
        why += ", or --weights of an ImageNet classifier"
    return [Decision("short", f"{views:,} views", why, doubtful=True)]


def _left(timed: speed.Speed, seconds: float) -> float:
    """Seconds of a budget when all is compiled: the step, and the network that evaluates."""
    return max(seconds - COMPILED * timed.compiling, 0.1 * seconds)


def _worth(networks: Sequence[network.Network], views: int) -> str:
    return f"the widest worth {views:,} views" if len(networks) > 1 else "as --weights has it"


def _moved(side: int, wanted: int, facts: Facts) -> str:
    if side == wanted:
        return ""
    if side > wanted:
        return "; more, as the budget allows it"
    half = facts.share(0.5) * side
    return f"; less, for the sake of views: half of the objects are longer than {half:.0f}"


def _minutes(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.3g} seconds"
    return f"{seconds / 60:.3g} minutes" if seconds < 7200 else f"{seconds / 3600:.3g} hours"
