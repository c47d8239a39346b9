"""The variables that a training begins with: fresh, of a file of weights, or of another run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from solojax import config as config_lib
from solojax import parallel, processes
from solojax.config import classes
from solojax.convert import backbones, containers, state_dict
from solojax.convert import weights as weights_lib
from solojax.fields import shown
from solojax.models import detector
from solojax.ops import images
from solojax.training import checkpoint, hub
from solojax.types import InputError, escaped


def start_variables(config: config_lib.Config, workdir: Path) -> dict[str, Any]:
    """Fresh variables, or what ``training.pretrained`` says; process 0's are everybody's.

    A run that goes on has its own, and no need of the file that it began with.

    Raises:
      InputError: there are no such weights, or they do not fit the model.
    """
    training, key = config.training, jax.random.key(config.training.seed)
    draw = parallel.jit_once(detector.init_variables, static_argnums=0)
    begins = processes.is_first() and not checkpoint.steps_in(workdir)
    if not training.pretrained or not begins:
        return draw(config.model, key)
    path = hub.folder_of(training.pretrained)
    if not path.is_dir():
        weights = read_weights(training.pretrained, config.model.std)
        if weights.is_caffe2:
            _check_caffe2(config.model, training.pretrained)
        names = detector.state_dict_names(config.model)
        print(*map(escaped, _told(weights, path, names)), sep="\n", flush=True)
        return state_dict.load_backbone(weights.arrays, draw(config.model, key), names)
    _check_run(config.model, path)
    remedy = "if only the classes differ, set training.reset_classes=True"
    anew = _of_classes(config.model) if training.reset_classes else ()
    like = detector.variable_shapes(config.model)
    _, arrays = checkpoint.read_arrays(path, like, remedy=remedy, anew=anew)
    variables = draw(config.model, key)
    if training.reset_classes:
        fresh = sorted(set(anew) - arrays.keys())
        print(f"new for {len(config.data.categories)} classes: {', '.join(fresh) or 'nothing'}")
    return checkpoint.fill(variables, checkpoint.by_name(variables) | arrays)


def _check_run(model: Any, run: Path) -> None:
    """Refuses a network in which a run's weights would fit and mean something else.

    Nothing is known of a run that another version of solojax wrote.
    """
    try:
        other = checkpoint.config_in(run).model  # the others do not ask
    except InputError:
        return
    ours, theirs = _reads(model), _reads(other)
    if differing := [f"{name}={value}" for name, value in theirs.items() if value != ours[name]]:
        raise InputError(
            f"training.pretrained={run} reads images otherwise than this config: set "
            f"{' '.join(differing)}"
        )


def _reads(model: Any) -> dict[str, str]:
    """Fields that no shape of a parameter follows from, as ``--set`` takes them."""
    pixels = {f"model.{name}": getattr(model, name) for name in ("mean", "std")}
    fields = {name: ",".join(f"{x:g}" for x in three) for name, three in pixels.items()}
    return fields | {"model.backbone.variant": getattr(model.backbone, "variant", "")}


def _of_classes(model: Any) -> list[str]:
    """Names of the variables whose shapes follow the number of classes."""
    counts = (getattr(model.head, name, 0) + 1 for name in ("num_classes", "num_labels"))
    more = model.clone(head=classes.of_classes(model.head, *counts))
    ours, others = (checkpoint.by_name(detector.variable_shapes(one)) for one in (model, more))
    return [n for n, x in ours.items() if n not in others or others[n].shape != x.shape]


def read_weights(path: str, std: Sequence[float] = images.STD) -> backbones.Backbone:
    """The backbone of a file of weights of any form; nothing of it is unpickled.

    Args:
      path: torch's, Caffe2's, Paddle's, NumPy's or of safetensors, told by what it holds.
      std: of the network's images, as ``backbones.backbone_of`` needs it.

    Raises:
      InputError: it cannot be read, or has numbers that are not finite.
    """
    try:
        found = containers.state_dict_of(containers.read(path))
    except InputError as error:
        raise InputError(f"training.pretrained={error}") from error
    if all(name.startswith(weights_lib.OWN) for name in found.arrays):
        raise InputError(
            f"training.pretrained={path} is a whole network of solojax; make a run of it by "
            f"`solojax convert {path} --to RUN`, and give that"
        )
    weights = backbones.backbone_of(found.arrays, std)
    weights.left_out.update(found.left_out)
    if wild := [name for name, array in weights.arrays.items() if not _is_finite(array)]:
        raise InputError(
            f"training.pretrained={path} has numbers that are not finite, in {shown(wild[0])}"
        )
    return weights


def _told(weights: backbones.Backbone, path: Path, names: detector.Names) -> list[str]:
    """What is read of a file, and what is not."""
    skipped = {
        name: f"is of {why}"
        for name in weights.arrays
        if (why := state_dict.reason_to_skip(f"backbone.{name}", names))
    }
    count = len(weights.arrays) - len(skipped)
    return [
        f"{path}: {count} arrays of a backbone",
        *weights_lib.left({**skipped, **weights.left_out}),
    ]


def _check_caffe2(model: Any, path: str) -> None:
    """Refuses a network in which Caffe2's weights would mean something else."""
    if getattr(model.backbone, "variant", "a") != "a":
        raise InputError(
            f"training.pretrained={path} is of Caffe2, with the stride in the first 1x1 "
            "convolution of a block: set model.backbone.variant=a"
        )
    if not np.allclose(model.mean, images.MEAN):
        raise InputError(
            f"training.pretrained={path} is of Caffe2, for images less {images.MEAN}: leave "
            "model.mean at that"
        )


def _is_finite(array: np.ndarray) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())
