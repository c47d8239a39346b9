"""The command line: ``solojax train | eval | data | bench``, ``train.py`` and ``eval.py``.

What a user got wrong ends with one line and exit code 2.
"""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solojax import config as config_lib
from solojax.types import InputError, TrainState

if TYPE_CHECKING:
    from solojax.data import coco

MOST_SHOWN = 64  # examples on one sheet
PICTURES = 24  # drawn by an evaluation
DRAWN_SCORE = 0.4  # detections below are scored but would clutter a picture


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    # TensorFlow only reads data here: its greetings are not about the user's work.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    parser = argparse.ArgumentParser("solojax", description="Instance segmentation by locations.")
    commands = parser.add_subparsers(required=True)
    _add_train(commands.add_parser("train", help="train a config"))
    _add_eval(commands.add_parser("eval", help="score a run on its validation images"))
    data = commands.add_parser("data", help="make and look at data sets")
    _add_data(data.add_subparsers(required=True))
    bench = commands.add_parser("bench", help="measure").add_subparsers(required=True)
    _add_memory(bench.add_parser("memory", help="what a training step needs on a device"))
    _add_bench_data(bench.add_parser("data", help="how fast images come, and what takes the time"))
    arguments = parser.parse_args(argv)
    failure = None
    try:
        arguments.run(arguments)
    except (InputError, OSError) as error:
        failure = str(error)
    except KeyboardInterrupt:
        print("solojax: stopped", file=sys.stderr)
        return 130
    if failure is not None:  # said here, when the progress bars of what failed are closed
        print(f"solojax: error: {failure}", file=sys.stderr)
        return 2
    return 0


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, help="a file such as configs/shapes.py")
    _add_set(parser)


def _add_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="FIELD=VALUE",
        help="change fields of the config, as in --set training.steps=500 data.root=my/folder",
    )


def _add_train(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument("--workdir", required=True, type=Path, help="the run folder")
    parser.set_defaults(run=_train)


def _add_eval(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, type=Path, help="the run folder")
    parser.add_argument(
        "--oracle",
        nargs="+",
        action="extend",
        default=[],
        choices=["masks", "classes"],
        help="score also what was found with the true masks, or the true classes, in their place",
    )
    _add_set(parser)
    parser.set_defaults(run=_eval)


def _add_data(commands: Any) -> None:
    shapes = commands.add_parser("shapes", help="draw the shapes set as a COCO folder")
    shapes.add_argument("root", type=Path, help="the folder to make")
    shapes.add_argument("--train", type=int, default=6000, help="training images")
    shapes.add_argument("--val", type=int, default=200, help="validation images")
    shapes.add_argument("--seed", type=int, default=0)
    shapes.set_defaults(run=_shapes)

    prepare = commands.add_parser("prepare", help="check a COCO folder and write its records")
    _add_root(prepare)
    prepare.add_argument("--config", help="whose data fields to go by")
    _add_set(prepare)
    prepare.set_defaults(run=_prepare)

    stats = commands.add_parser("stats", help="count what is there and who gets a grid cell")
    _add_root(stats)
    _add_config(stats)
    stats.add_argument("--split", choices=("train", "val"), default="train")
    stats.set_defaults(run=_stats)

    show = commands.add_parser("show", help="draw what a training sees")
    _add_root(show)
    _add_config(show)
    show.add_argument("--split", choices=("train", "val"), default="train")
    show.add_argument("--step", type=int, default=0, help="of the training, to begin with")
    show.add_argument("--count", type=int, default=8, help="examples")
    show.add_argument("--out", type=Path, default=Path("examples.png"))
    show.set_defaults(run=_show)

    foreign = commands.add_parser("import", help="turn a set of another form into a COCO folder")
    foreign.add_argument("form", help="labelme, yolo, cityscapes, lvis or pairs")
    foreign.add_argument("source", type=Path, help="its folder")
    foreign.add_argument("out", type=Path, help="the COCO folder to make")
    foreign.add_argument("--name", help='of the class of pairs; "object" where not given')
    foreign.add_argument("--divisor", type=int, help="id // divisor is the class of pairs")
    foreign.set_defaults(run=_import)


def _add_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", nargs="?", help="the COCO folder, in place of the config's")


def _add_memory(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.set_defaults(run=_memory)


def _add_bench_data(parser: argparse.ArgumentParser) -> None:
    _add_root(parser)
    _add_config(parser)
    parser.add_argument("--images", type=int, default=5000)
    parser.set_defaults(run=_bench_data)


# Each command imports what it needs: TensorFlow and JAX take seconds, `--help` should not.


def _train(arguments: argparse.Namespace) -> None:
    from solojax import parallel
    from solojax.data import coco
    from solojax.evaluation import predict
    from solojax.training import loop, step

    config = config_lib.load(arguments.config, arguments.set)
    parallel.check_divisible(config.training.batch_size)
    records = coco.prepare(config.data, "train")
    config = config_lib.with_categories(config, records.categories)
    evaluate = None
    if config.training.evaluate_every or coco.has_split(config.data, "val"):
        # A fault in the validation set should not be found out after days of training.
        val_records = coco.prepare(config.data, "val")
        score = predict.make_evaluate(
            config.model, val_records, config.data, config.training.batch_size
        )

        def evaluate(state: TrainState) -> dict[str, float]:
            return score(step.eval_variables(state)).numbers

    loop.train(config, records, arguments.workdir, evaluate)


def _eval(arguments: argparse.Namespace) -> None:
    from solojax import parallel
    from solojax.data import coco
    from solojax.evaluation import coco as coco_evaluation
    from solojax.evaluation import oracle, predict
    from solojax.training import checkpoint, loop

    workdir = arguments.workdir
    path = workdir / loop.CONFIG
    if not path.is_file():
        raise InputError(f"{workdir} is not a run folder: it has no config.json")
    config = config_lib.from_json(path.read_text(), str(path))
    config = config_lib.override(config, *arguments.set)
    parallel.check_divisible(config.training.batch_size)
    records = coco.prepare(config.data, "val")
    with checkpoint.Checkpoints(workdir) as checkpoints:
        variables = checkpoints.restore_variables(config.model)
        step = checkpoints.latest_step()
    evaluate = predict.make_evaluate(config.model, records, config.data, config.training.batch_size)
    evaluation = evaluate(variables)
    print(f"mask AP of {workdir} at step {step} on {len(records.image_ids)} images")
    print(coco_evaluation.table(evaluation.numbers))
    if evaluation.overflow:
        print(f"  {evaluation.overflow} candidates were beyond model.head.selection.max_candidates")
    report: dict[str, Any] = {**evaluation.numbers, "step": step}
    replace = {"masks": oracle.masks, "classes": oracle.classes}
    for name in dict.fromkeys(arguments.oracle):  # each once
        replaced = replace[name](evaluation.truth, evaluation.results)
        numbers = coco_evaluation.mask_ap(
            evaluation.truth, [one for here in replaced.values() for one in here]
        )
        print(f"with the {name} of the ground truth that each prediction overlaps most")
        print(oracle.table(evaluation.numbers, numbers))
        report[f"oracle_{name}"] = numbers
    (workdir / "eval.json").write_text(json.dumps(report, indent=2) + "\n")
    _draw_pictures(workdir / "pictures", records, evaluation.results)


def _draw_pictures(
    folder: Path, records: "coco.Records", results: dict[int, list[dict[str, Any]]]
) -> None:
    """Draws predictions beside the ground truth, for images spread evenly over the records.

    Colours tell classes apart, or instances where there is one class only.
    """
    import numpy as np
    from tqdm import tqdm

    from solojax.data import coco, rle
    from solojax.inference import draw

    folder.mkdir(exist_ok=True)
    names = [category.name for category in records.categories]
    label_of = {category.id: label for label, category in enumerate(records.categories)}

    def panel(
        image: np.ndarray, rles: list[bytes], labels: list[int], notes: list[str]
    ) -> np.ndarray:
        masks = rle.decode(rles, *image.shape[:2])
        if len(names) == 1:
            return draw.draw_masks(image, masks, notes, range(len(labels)))
        texts = [
            f"{names[label]} {note}".strip() for label, note in zip(labels, notes, strict=True)
        ]
        return draw.draw_masks(image, masks, texts, labels)

    count = len(records.image_ids)
    chosen = np.unique(np.linspace(0, count - 1, min(PICTURES, count)).astype(int))
    for index in tqdm(chosen, "drawing", unit="image"):
        record = coco.read(records, int(index))
        image = coco.image_of(record)
        found = [one for one in results[int(index)] if one["score"] >= DRAWN_SCORE]
        predicted = panel(
            image,
            [one["segmentation"]["counts"] for one in found],
            [label_of[one["category_id"]] for one in found],
            [f"{one['score']:.2f}" for one in found],
        )
        truth = panel(
            image,
            [instance.rle for instance in record.instances],
            [instance.label for instance in record.instances],
            [""] * len(record.instances),
        )
        picture = draw.side_by_side([("prediction", predicted), ("ground truth", truth)])
        draw.save_png(str(folder / f"{records.image_ids[index]}.png"), picture)
    print(f"{len(chosen)} pictures in {folder}")


def _shapes(arguments: argparse.Namespace) -> None:
    from solojax.data import synthetic

    synthetic.draw_shapes(
        arguments.root, train=arguments.train, val=arguments.val, seed=arguments.seed
    )


@dataclasses.dataclass(frozen=True)
class _DataOnly:
    """What takes the place of a config where no model is needed."""

    data: config_lib.Data = config_lib.Data()


def _load(arguments: argparse.Namespace) -> Any:
    """The config of a command on data, its folder taken from the command line."""
    root = [f"data.root={arguments.root}"] if arguments.root else []
    if not (root or arguments.config or arguments.set):
        raise InputError("no folder given; give ROOT or --config")
    if arguments.config:
        return config_lib.load(arguments.config, [*root, *arguments.set])
    return config_lib.override(_DataOnly(), *root, *arguments.set)


def _prepare(arguments: argparse.Namespace) -> None:
    from solojax.data import coco

    data = _load(arguments).data
    splits: tuple[coco.Split, ...] = ("train", "val")
    # A folder of one split only is legal; that none is there is told of the first.
    for split in [split for split in splits if coco.has_split(data, split)] or splits[:1]:
        records = coco.prepare(data, split)
        print(f"{split}: {len(records.image_ids)} images, {len(records.categories)} classes")


def _stats(arguments: argparse.Namespace) -> None:
    from solojax.evaluation import statistics

    print(statistics.report(_load(arguments), arguments.split))


def _import(arguments: argparse.Namespace) -> None:
    from solojax.data import foreign

    if arguments.form not in foreign.FORMS:
        raise InputError(f"form {arguments.form!r} is none of {', '.join(foreign.FORMS)}")
    options = {"name": arguments.name, "divisor": arguments.divisor}
    options = {name: value for name, value in options.items() if value is not None}
    if options and arguments.form != "pairs":
        raise InputError(f"--{next(iter(options))} is for pairs, not for {arguments.form}")
    found = foreign.FORMS[arguments.form](arguments.source, **options)
    foreign.write(found, arguments.out)
    for split, content in found.splits.items():
        instances = sum(len(picture.instances) for picture in content.pictures)
        print(
            f"{split}: {len(content.pictures)} images, {instances} instances, "
            f"{len(content.categories)} classes"
        )
    print(f"next: solojax data prepare {arguments.out}")


def _show(arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from solojax.data import coco, examples
    from solojax.heads.grid import grid_of
    from solojax.inference import contact_sheet, draw
    from solojax.types import MASK_STRIDE

    if not 1 <= arguments.count <= MOST_SHOWN or arguments.step < 0:
        raise InputError(f"--count must be in 1..{MOST_SHOWN} and --step at least 0")
    if not arguments.out.parent.is_dir():
        raise InputError(f"--out {arguments.out}: there is no folder {arguments.out.parent}")
    config = _load(arguments)
    grid = grid_of(config.model.head)
    records = coco.prepare(config.data, arguments.split)
    batch_size = config.training.batch_size
    load = examples.train_examples(
        records,
        config.data,
        mask_strides=(MASK_STRIDE,),
        batch_size=batch_size,
        seed=config.training.seed,
    )
    first = arguments.step * batch_size
    numbers = tqdm(range(first, first + arguments.count), "drawing", unit="image")
    shown = [load(*divmod(number, batch_size)) for number in numbers]
    sheet = contact_sheet.contact_sheet(
        shown,
        [records.image_ids[one.indices] for one in shown],
        grid,
        [category.name for category in records.categories],
    )
    draw.save_png(str(arguments.out), sheet)
    print(f"{len(shown)} examples from step {arguments.step} on in {arguments.out}")


def _bench_data(arguments: argparse.Namespace) -> None:
    from solojax.data import coco, throughput

    config = _load(arguments)
    if arguments.images < 1:
        raise InputError("--images must be at least 1")
    records = coco.prepare(config.data, "train")
    measured = throughput.measure(
        records,
        config.data,
        mask_strides=config.model.head.mask_strides,
        batch_size=config.training.batch_size,
        images=arguments.images,
    )
    print(throughput.table(measured))


def _memory(arguments: argparse.Namespace) -> None:
    import jax

    from solojax.training import memory

    config = config_lib.load(arguments.config, arguments.set)
    batch_size, devices = config.training.batch_size, jax.local_device_count()
    print(
        f"MiB of a training step of {batch_size} images, on each of {devices} x "
        f"{jax.local_devices()[0].device_kind}, as XLA plans it\n"
        "  canvas       state   batch  temporary     peak"
    )
    for canvas in config.data.canvases:
        need = memory.step_memory(config, canvas)
        state, batch, temporary, peak = (size / 2**20 for size in (*need, need.peak))
        name = f"{canvas[0]}x{canvas[1]}"
        print(f"  {name:9} {state:8,.0f} {batch:7,.0f} {temporary:10,.0f} {peak:8,.0f}", flush=True)
