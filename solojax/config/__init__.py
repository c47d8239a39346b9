"""Configs: frozen dataclasses, built by a Python file, changed by overrides, kept as JSON.

A config file defines ``config = Config(...)`` with the model's modules inside, so one page shows
the whole experiment. A run folder keeps it as JSON of known dataclasses: loading a run executes
nothing.
"""

import dataclasses
import itertools
import json
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any, Literal

from solojax import fields
from solojax.config import classes, encoding, files
from solojax.config.files import names as names
from solojax.config.overrides import override as override
from solojax.types import InputError

MOST_WORKERS = 1024
MOST_IMAGES = 2**22  # a step; more than any machine is planned for
MOST_PIXELS = 2**28  # of a canvas: the first layer of one twice as wide takes 34 GB for an image
MOST_RATE = 1000.0  # Adam moves each weight so far in a step, and weights are below 1
MOST_SCALE = 1000.0  # times the size at which an image fits


@dataclasses.dataclass(frozen=True)
class Category:
    """A class of a data set; its place in ``Data.categories`` is its label."""

    id: int  # as in the JSON: may start anywhere and have gaps
    name: str

    def __post_init__(self) -> None:
        fields.check_fields(self, "data.categories")


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What is drawn anew for each training image; a probability of 0 leaves it out.

    In this order: colours, crop, size, mirror, mosaic, copy-paste, grid mask, erasing.
    """

    flip_probability: float = 0.5
    # Large-scale jitter in place of train_short_sides: times the size at which an image just fits
    # the canvas; what is larger is cropped.
    scale_range: tuple[float, float] | None = None
    color_probability: float = 0.0  # of brightness, contrast, saturation and hue, each
    crop_probability: float = 0.0  # of a window drawn by its overlap with a box
    mosaic_probability: float = 0.0  # of three more images beside it, all at half their size
    copy_paste_probability: float = 0.0  # of instances of another image on top
    grid_mask_probability: float = 0.0
    grid_mask_ramp_steps: int = 0  # until grid_mask_probability is reached, linearly from 0
    erase_probability: float = 0.0  # of a rectangle of noise

    def __post_init__(self) -> None:
        fields.check_fields(self, "data.augmentation")
        names = [name for name in fields.field_names(self) if name.endswith("_probability")]
        fields.check_range(self, "data.augmentation", *names, most=1)
        fields.check_range(self, "data.augmentation", "grid_mask_ramp_steps")
        if self.scale_range and not 0 < self.scale_range[0] <= self.scale_range[1] <= MOST_SCALE:
            raise InputError(
                f"data.augmentation.scale_range={self.scale_range} must be (least, greatest), "
                f"both above 0 and at most {MOST_SCALE:g}"
            )


@dataclasses.dataclass(frozen=True)
class Data:
    """A COCO-format folder and how its images reach the network. Sizes are network pixels."""

    root: str = "data/coco"  # a folder, or a bucket such as gs://bucket/coco
    train_json: str = ""  # relative to root; where empty, annotations/instances_train*.json
    val_json: str = ""  # where empty, annotations/instances_val*.json
    train_images: str = ""  # folder of the file names, from root on; where empty, one is looked for
    val_images: str = ""  # the same
    records: str = "data/records"  # folder for the records written from root, once
    categories: tuple[Category, ...] = ()  # read from train_json where empty
    stuff: tuple[Category, ...] = ()  # of label maps: their labels behind those of the categories

    # (black, white): values of images of more than 8 bits; where empty, of each image as of so many
    # bits as its largest value needs.
    value_range: tuple[float, ...] = ()

    # What images and annotations that cannot be taken as they are lead to: the set is refused, they
    # are left out and listed, or those with a likely meaning are mended and the rest left out.
    faults: Literal["fail", "skip", "repair"] = "fail"
    most_skipped: float = 0.001  # share of images, or annotations, beyond which the set is refused
    boxes_as_masks: bool = False  # of annotations with a box and no mask
    follow_links: bool = False  # to image files outside of their folder
    # Whether masks of photos that EXIF turns, where the JSON has the sides of the file, are shares
    # of the turned photo multiplied by those sides, as Label Studio writes them.
    stretched: bool = False

    canvases: tuple[tuple[int, int], ...] = ((800, 1344), (1344, 800))  # one compile each
    # "fit" keeps the shape of an image, within the sides below; "stretch" fills the canvas.
    resize: Literal["fit", "stretch"] = "fit"
    train_short_sides: tuple[int, ...] = (800, 768, 736, 704, 672, 640)  # one is drawn per image
    test_short_side: int = 800
    long_side: int = 1333  # no image is made longer
    augmentation: Augmentation = Augmentation()
    # Share of the images with a class, below which they come more often, as sqrt(threshold / share)
    # (LVIS's repeat factor sampling); 0: each image once an epoch.
    repeat_threshold: float = 0.0
    max_instances: int = 100  # N; the smallest beyond are left out and counted
    workers: int = 0  # images made in parallel; 0: one for each core

    def __post_init__(self) -> None:
        fields.check_fields(self, "data")
        fields.expand_home(self, "root", "records")
        sizes = ("train_short_sides", "test_short_side", "long_side", "max_instances")
        fields.check_count(self, "data", *sizes)
        fields.check_range(self, "data", "most_skipped", "repeat_threshold", most=1)
        fields.check_range(self, "data", "workers", most=MOST_WORKERS)
        if self.value_range and not (
            len(self.value_range) == 2 and self.value_range[0] < self.value_range[1]
        ):
            raise InputError(
                f"data.value_range={self.value_range} must be empty or two numbers, as in 0,4095"
            )
        for name, some in (("train_short_sides", "side"), ("canvases", "(height, width)")):
            if not getattr(self, name):
                raise InputError(f"data.{name} is empty; give at least one {some}")
        for canvas in self.canvases:
            if not all(1 <= side <= fields.MANY for side in canvas) or prod(canvas) > MOST_PIXELS:
                raise InputError(
                    f"data.canvases={fields.shown(self.canvases)} needs sides of 1 to "
                    f"{fields.MANY} pixels, and no more pixels than 16384x16384"
                )
        ids = [one.id for one in self.categories + self.stuff]
        if len(set(ids)) < len(ids):
            raise InputError("data.categories, data.stuff: two have one id; give each its own")
        if self.resize == "stretch" and self.augmentation.scale_range is not None:
            raise InputError(
                "data.resize=stretch fills the canvas with the whole image and leaves nothing to "
                "data.augmentation.scale_range; take one of the two"
            )


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """An optimizer and its schedule. Defaults are the published ones."""

    algorithm: Literal["sgd", "adamw", "muon"] = "sgd"
    learning_rate: float = 0.01  # at base_batch_size; scaled linearly with training.batch_size
    base_batch_size: int = 16  # 0: the rate is never scaled
    # (pattern, factor): what the rate of a parameter is multiplied by; 0 freezes it. A pattern is
    # of the whole path, such as "backbone/layer1_*", where * fits slashes as well; the first that
    # fits decides.
    rate_factors: tuple[tuple[str, float], ...] = ()
    momentum: float = 0.9  # of sgd
    weight_decay: float = 1e-4
    decay_norms: bool = True  # their scales and biases
    decay_biases: bool = True  # all others
    undecayed: tuple[str, ...] = ()  # patterns of more that does not decay
    by_adam: tuple[str, ...] = ()  # patterns of kernels that AdamW moves all the same, with muon
    schedule: Literal["step", "cosine", "poly"] = "step"
    drop_epochs: tuple[float, ...] = (27, 33)  # of "step": the rate falls to a tenth at each
    warmup_steps: int = 500
    warmup_factor: float = 0.01  # of the rate at step 0
    clip_norm: float = 35.0  # global L2 norm of the gradients; 0: they are not clipped
    ema_decay: float = 0.0  # of an average of the parameters that is evaluated; 0 keeps none

    def __post_init__(self) -> None:
        fields.check_fields(self, "optimizer")
        numbers = ("base_batch_size", "warmup_steps", "warmup_factor", "weight_decay")
        fields.check_range(self, "optimizer", *numbers)
        # What is never reached, however large, has a meaning: no drop, no clip.
        fields.check_range(self, "optimizer", "drop_epochs", "clip_norm", most=fields.FLOAT32)
        if not all(a < b for a, b in itertools.pairwise(self.drop_epochs)):
            raise InputError(
                f"optimizer.drop_epochs={self.drop_epochs} must rise from each to next"
            )
        if not 0 < self.learning_rate <= MOST_RATE:
            raise InputError(
                f"optimizer.learning_rate={self.learning_rate:g} must be above 0 and at most "
                f"{MOST_RATE:g}"
            )
        for pattern, factor in self.rate_factors:
            if not 0 <= factor <= fields.STRONGEST:
                raise InputError(
                    f"optimizer.rate_factors: the factor of {pattern!r} is {factor:g}; it must be "
                    f"in 0..{fields.STRONGEST:.10g}"
                )
        for name in ("momentum", "ema_decay"):
            if not 0 <= (share := getattr(self, name)) < 1:
                raise InputError(f"optimizer.{name}={share} must be at least 0 and below 1")


@dataclasses.dataclass(frozen=True)
class Training:
    """How long to train and what to leave behind."""

    batch_size: int = 16  # images per step, over all devices
    accumulate: int = 1  # parts that a device takes its images of a step in, one after the other
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: float32 on CPUs only
    epochs: float = 36
    steps: int = 0  # 0: as many as epochs take; else it decides
    early_stop: int = 0  # evaluations in a row without a better AP that end a training; 0: none do
    seed: int = 0
    pretrained: str = ""  # a file of a backbone (docs/weights.md), a run folder, or owner/name
    reset_classes: bool = False  # start the layers anew whose shape follows the classes
    log_every: int = 50  # steps
    checkpoint_every: int = 5000  # steps
    evaluate_every: int = 0  # steps; 0: not while training
    wandb: str = ""  # project to report to; needs wandb
    mlflow: str = ""  # experiment to report to; needs mlflow

    def __post_init__(self) -> None:
        fields.check_fields(self, "training")
        fields.expand_home(self, "pretrained")
        fields.check_range(self, "training", "log_every", "checkpoint_every", least=1)
        fields.check_count(self, "training", "accumulate")
        fields.check_count(self, "training", "batch_size", most=MOST_IMAGES)
        fields.check_range(self, "training", "steps", "evaluate_every", "early_stop")
        fields.check_range(self, "training", "seed", most=2**32 - 1)
        if self.early_stop and not self.evaluate_every:
            raise InputError(
                f"training.early_stop={self.early_stop} counts evaluations, and "
                "training.evaluate_every=0 has none; set it"
            )
        if self.epochs <= 0:
            raise InputError(f"training.epochs={self.epochs} must be above 0")


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole experiment."""

    model: Any  # models.detector.Detector
    data: Data = Data()
    optimizer: Optimizer = Optimizer()
    training: Training = Training()

    def __post_init__(self) -> None:
        parts = ("backbone", "neck", "head")
        whole = all(dataclasses.is_dataclass(getattr(self.model, part, None)) for part in parts)
        if not whole or not hasattr(self.model, "canvas_multiple"):
            raise InputError(
                f"model={fields.shown(self.model)} is no Detector of {', '.join(parts)}"
            )
        step = self.model.canvas_multiple
        for height, width in self.data.canvases:
            if height % step or width % step:
                near = [max(round(side / step), 1) * step for side in (height, width)]
                raise InputError(
                    f"data.canvases: {height}x{width} is not a multiple of {step} each way; the "
                    f"nearest is {near[0]}x{near[1]}"
                )


def load(name: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Runs a config file and applies overrides, each ``field.path=value``.

    Args:
      name: of a config that comes along, such as ``"shapes"``, or the path of any other:
        ``"my/config.py"``, ``"./shapes"``.
      overrides: as of ``override``.

    Raises:
      InputError: no such file, no config in it, or an override that fits no field.
    """
    config = files.run(path := files.find(name))
    if not isinstance(config, Config):
        raise InputError(f"config {path} does not define `config = solojax.config.Config(...)`")
    return override(config, *overrides)


def with_categories(
    config: Config, categories: tuple[Category, ...], stuff: tuple[Category, ...] = ()
) -> Config:
    """Takes the classes of a data set, and the stuff of its label maps; the head follows."""
    data = dataclasses.replace(config.data, categories=categories, stuff=stuff)
    model = classes.of_classes(config.model, len(categories), len(categories) + len(stuff))
    return dataclasses.replace(config, model=model, data=data)


def to_json(config: Config) -> str:
    """Writes a config so that ``from_json`` gives an equal one."""
    return json.dumps(encoding.encode(config), indent=2) + "\n"


def from_json(text: str | bytes, where: str) -> Config:
    """Reads what ``to_json`` wrote; ``where`` names it in errors. Runs no code of the config."""
    try:
        config = encoding.decode(
            json.loads(text if isinstance(text, str) else text.decode("utf-8-sig")), where
        )
    except InputError:
        raise
    except ValueError as error:  # bytes that are no UTF-8 and numbers of thousands of digits, too
        raise InputError(f"{where} is not JSON: {error}; it may be damaged") from error
    except RecursionError as error:
        raise InputError(f"{where} is nested too deeply to hold a config") from error
    if not isinstance(config, Config):
        raise InputError(f"{where} does not hold a config")
    return config
