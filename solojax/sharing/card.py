"""The card of a model that is shared: README.md, as the Hub shows it."""

import re
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

from solojax import __version__
from solojax import config as config_lib
from solojax.training import checkpoint, hub, shared
from solojax.types import escaped

PROJECT = "https://github.com/solojax/solojax"
_SCORES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
_CLASSES = 100  # that are named
# Overrides that say where somebody's files lie.
_OF_A_MACHINE = tuple(f"data.{name}=" for name in shared.PLACES)


class About(NamedTuple):
    """What a card says beside the config."""

    title: str
    name: str  # owner/name, or what stands for it
    step: int
    numbers: int  # of the network's variables
    scores: Mapping[str, Any] | None  # of ``eval.json``, of this step
    data: str = ""  # what it was trained on, in words
    license: str = ""  # as the Hub calls it
    began_with: str = ""  # the name of other weights
    has_picture: bool = False


def written(config: config_lib.Config, about: About) -> str:
    """The card, in Markdown behind a head of YAML."""
    model, name = config.model, about.name
    head, backbone = type(model.head).__name__, type(model.backbone).__name__
    depth = getattr(model.backbone, "depth", "")
    classes = [_plain(one.name) for one in config.data.categories]
    more = f" and {len(classes) - _CLASSES} more" if len(classes) > _CLASSES else ""
    sides = ", ".join(f"{height}x{width}" for height, width in config.data.canvases)
    lines = [
        "---",
        "library_name: solojax",
        "pipeline_tag: image-segmentation",
        *([f"license: {about.license}"] if about.license else []),
        f"tags: [instance-segmentation, {head.lower()}, jax, flax]",
        "---",
        "",
        f"# {_plain(about.title)}",
        "",
        f"Instance segmentation by {head} with {backbone}{f'-{depth}' if depth else ''}: "
        f"{len(classes)} classes, {about.numbers / 1e6:.2f} million numbers, {about.step:,} steps "
        f"of training by [solojax]({PROJECT}) {__version__}.",
        *(_PICTURE if about.has_picture else []),
        "",
        *("## Use", ""),
        "```bash",
        'pip install "solojax[hub]"',
        f"solojax predict my/photo.jpg --run {name}",
        f"solojax train my/folder --weights {name}",
        "```",
        "",
        "```python",
        "import solojax",
        "",
        f'result = solojax.Predictor.from_pretrained("{name}")("my/photo.jpg")',
        "result.names, result.scores, result.boxes, result.masks",
        "```",
        "",
        f"Nothing here runs: `config.json` is data, and `{shared.WEIGHTS}` is compared with "
        f"`{shared.SUMS}`.",
        "",
        *("## Scores", ""),
        *_scores(name, about.scores),
        "",
        *("## Data", ""),
        _plain(about.data) or "Not said.",
        "",
        f"Classes: {', '.join(classes[:_CLASSES])}{more}.",
        "",
        *("## Config", ""),
        f"Canvases of {sides} pixels, {config.training.batch_size} images in a step, "
        f"{config.optimizer.algorithm} at a rate of {config.optimizer.learning_rate:g}. "
        f"All of it is in `{checkpoint.CONFIG}`.",
        "",
        *("## Licence", ""),
        f"{about.license or 'Not said'}. Weights that came of others' fall under theirs as well"
        + (f": the training began with {_plain(about.began_with)}." if about.began_with else "."),
    ]
    return "\n".join(lines) + "\n"


_PICTURE = [
    "",
    f"![What was found, and the truth, in one validation image]({hub.PICTURE})",
]


def _scores(name: str, scores: Mapping[str, Any] | None) -> list[str]:
    if not scores:
        return ["Not scored."]
    kinds = {"mask": scores, "box": scores.get("box"), "boundary": scores.get("boundary")}
    changed = [str(one) for one in scores.get("overrides", ())]
    changed = [one for one in changed if not one.startswith(_OF_A_MACHINE)]
    command = ["solojax", "eval", "--workdir", name, "--out", "scores", "--set", "data.root=FOLDER"]
    return [
        f"| | {' | '.join(_SCORES)} |",
        "|---" * (len(_SCORES) + 1) + "|",
        *(
            f"| {kind} | {' | '.join(_number(numbers.get(one)) for one in _SCORES)} |"
            for kind, numbers in kinds.items()
            if isinstance(numbers, Mapping)
        ),
        "",
        f"On {len(scores.get('images', ())):,} validation images, by "
        f"`{shlex.join([*command, *changed])}`; FOLDER holds them and their COCO JSON.",
    ]


def _number(value: Any) -> str:
    is_one = isinstance(value, int | float) and 0 <= value <= 1
    return f"{value:.3f}" if is_one else ""


def _plain(text: str) -> str:
    """A text of anybody's in a line that Markdown and HTML leave as it is."""
    return re.sub(r"([\\`*_\[\]<>|&#])", r"\\\1", escaped(text))
