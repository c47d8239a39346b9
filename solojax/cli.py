"""The command line: ``solojax train | eval | predict | data | bench``, ``train.py``, ``eval.py``.

What a user got wrong ends with one line and exit code 2; a training that was cut off and can go on
with ``types.RESTART``.
"""

import argparse
import collections
import contextlib
import dataclasses
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from solojax import config as config_lib
from solojax.types import RESTART, InputError, Terminated, TrainState

MOST_SHOWN = 64  # examples on one sheet
PICTURES = 24  # drawn by an evaluation
GIANT = 10_000  # pixels on the longer side; above, one look at all of an image misses much
WATCHED = 4  # validation images that are drawn at each evaluation of a training


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    # TensorFlow only reads data here: its greetings are not about the user's work.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    parser = argparse.ArgumentParser("solojax", description="Instance segmentation by locations.")
    commands = parser.add_subparsers(required=True)
    _add_train(commands.add_parser("train", help="train a config"))
    _add_eval(commands.add_parser("eval", help="score a run on its validation images"))
    _add_predict(commands.add_parser("predict", help="find the instances in images and videos"))
    data = commands.add_parser("data", help="make and look at data sets")
    _add_data(data.add_subparsers(required=True))
    bench = commands.add_parser("bench", help="measure").add_subparsers(required=True)
    _add_memory(bench.add_parser("memory", help="what a training step needs on a device"))
    _add_bench_data(bench.add_parser("data", help="how fast images come, and what takes the time"))
    arguments = parser.parse_args(argv)
    code, failure = 0, ""
    try:
        arguments.run(arguments)
    except (InputError, OSError) as error:
        code, failure = 2, f"error: {error}"
    except Terminated:
        code, failure = RESTART, "ended by SIGTERM; the same command goes on"
    except KeyboardInterrupt:
        code, failure = 130, "stopped"
    except Exception as error:
        traceback.print_exc()
        _leave(1, f"{type(error).__name__}: {error}")
        return 1
    if code:  # said here, when the progress bars of what failed are closed
        print(f"solojax: {failure}", file=sys.stderr, flush=True)
        _leave(code, failure)
    return code


def _leave(code: int, message: str) -> None:
    """Ends the process where it is one of several, which would wait for it."""
    if processes := sys.modules.get("solojax.processes"):
        processes.leave(code, message)


def _add_config(parser: argparse.ArgumentParser) -> None:
    known = ", ".join(config_lib.names())
    parser.add_argument(
        "--config", required=True, help=f"a file such as my/own.py, or one of {known}"
    )
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
    _add_processes(parser)
    parser.set_defaults(run=_train)


def _add_processes(parser: argparse.ArgumentParser) -> None:
    several = parser.add_argument_group(
        "several processes", "found out by themselves under SLURM's srun and on TPU pods"
    )
    several.add_argument("--coordinator", default="", help="host:port of process 0")
    several.add_argument("--process", type=int, help="number of this one, from 0")
    several.add_argument("--processes", type=int, help="how many there are")


def _add_eval(parser: argparse.ArgumentParser) -> None:
    scored = parser.add_mutually_exclusive_group(required=True)
    scored.add_argument("--workdir", type=Path, help="the run folder")
    scored.add_argument(
        "--results",
        type=Path,
        metavar="FILE",
        help="COCO results that any program wrote, masks or boxes, in place of a run's",
    )
    parser.add_argument(
        "--gt",
        type=Path,
        metavar="FILE",
        help="the COCO instances, with masks, that --results are about",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="where --results leave eval.json and report.html; a run has them in its folder",
    )
    parser.add_argument(
        "--oracle",
        nargs="+",
        action="extend",
        default=[],
        choices=["masks", "classes"],
        help="score also what was found with the true masks, or the true classes, in their place",
    )
    parser.add_argument(
        "--checkpoint", default="latest", help="latest, best (by AP while training) or a step"
    )
    _add_set(parser)
    _add_processes(parser)
    parser.set_defaults(run=_eval)


def _add_predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="images, videos, folders of images, patterns such as 'a/**/*.jpg', webcam or webcam:N",
    )
    parser.add_argument("--run", dest="workdir", required=True, type=Path, help="the run folder")
    parser.add_argument(
        "--out", type=Path, default=Path("predictions"), help="the folder for what is found"
    )
    parser.add_argument(
        "--checkpoint", default="latest", help="latest, best (by AP while training) or a step"
    )
    parser.add_argument(
        "--save",
        default="",
        metavar="FORM,...",
        help="json (boxes, scores, areas), rle (COCO's results), polygons (a COCO set), png (ids)",
    )
    parser.add_argument(
        "--score", type=float, default=0.3, help="the least that is drawn and saved"
    )
    parser.add_argument(
        "--tiles", type=int, metavar="PIXELS", help="cut large images into tiles of that side"
    )
    parser.add_argument("--batch", type=int, default=1, help="images in the network at a time")
    parser.add_argument("--no-overlays", action="store_true", help="draw no pictures and films")
    parser.set_defaults(run=_predict)


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
    parser.add_argument(
        "--device-memory",
        type=float,
        metavar="GIB",
        help="of one GPU, all of it: find the largest batch for it instead of for the local device",
    )
    parser.set_defaults(run=_memory)


def _add_bench_data(parser: argparse.ArgumentParser) -> None:
    _add_root(parser)
    _add_config(parser)
    parser.add_argument("--images", type=int, default=5000)
    parser.set_defaults(run=_bench_data)


# Each command imports what it needs: TensorFlow and JAX take seconds, `--help` should not.


def _train(arguments: argparse.Namespace) -> None:
    import jax

    from solojax import parallel, processes
    from solojax.data import coco
    from solojax.evaluation import evaluate as evaluation
    from solojax.inference import pictures
    from solojax.training import loop, step

    _check_workdir(arguments.workdir)
    processes.start(arguments.coordinator, arguments.process, arguments.processes)
    config = config_lib.load(arguments.config, arguments.set)
    parallel.check_divisible(config.training.batch_size, config.training.accumulate)
    records = processes.in_turn(lambda: coco.prepare(config.data, "train"))
    config = config_lib.with_categories(config, records.categories)
    scores = bool(config.training.evaluate_every or coco.has_split(config.data, "val"))
    # Where the files lie may differ between hosts; what is in them may not.
    here = ["data.root=", "data.records=", "data.workers=0", "training.pretrained="]
    shared = config_lib.to_json(config_lib.override(config, *here))
    processes.check_agreement(shared, records.image_ids, scores, jax.__version__)
    evaluate = None
    if scores:
        # A fault in the validation set should not be found out after days of training.
        val_records = processes.in_turn(lambda: coco.prepare(config.data, "val"))
        score = evaluation.make_evaluate(config, val_records)
        watched = pictures.spread(len(val_records.image_ids), WATCHED)

        def evaluate(state: TrainState) -> loop.Scores:
            found = score(step.eval_variables(state))
            drawn = {
                f"val {val_records.image_ids[index]}": pictures.beside_truth(
                    val_records, index, found.results[index]
                )
                for index in watched
                if processes.is_first()
            }
            return loop.Scores(found.numbers, drawn)

    loop.train(config, records, arguments.workdir, evaluate)
    processes.finish()


def _check_workdir(workdir: Path) -> None:
    if ":" in str(workdir).split("/")[0]:
        raise InputError(
            f"--workdir {workdir} is no folder of this machine; process 0 needs one, which may be "
            "a bucket that is mounted"
        )


def _eval(arguments: argparse.Namespace) -> None:
    if arguments.results:
        return _eval_results(arguments)
    if arguments.gt or arguments.out:
        raise InputError("--gt and --out go with --results; a run knows its own")
    import jax
    from tqdm import tqdm

    from solojax import parallel, processes
    from solojax.data import coco
    from solojax.evaluation import confusion, evaluate, report, scores
    from solojax.inference import draw, pictures
    from solojax.models import detector
    from solojax.training import checkpoint

    processes.start(arguments.coordinator, arguments.process, arguments.processes)
    workdir = arguments.workdir
    config = config_lib.override(checkpoint.read_config(workdir), *arguments.set)
    parallel.check_divisible(config.training.batch_size)
    records = processes.in_turn(lambda: coco.prepare(config.data, "val"))
    wanted = jax.eval_shape(lambda: detector.init_variables(config.model, jax.random.key(0)))
    step, variables = checkpoint.read_variables(workdir, wanted, arguments.checkpoint)
    evaluation = evaluate.make_evaluate(config, records, scores.score)(variables)
    if processes.is_first():
        title = f"mask AP of {workdir} at step {step} on {len(records.image_ids)} images"
        scored = {**evaluation.numbers, "step": step}
        told = [title, scores.table(scored)]
        if evaluation.overflow:
            told.append(
                f"  {evaluation.overflow} candidates were beyond "
                "model.head.selection.max_candidates"
            )
        told += _add_oracles(arguments.oracle, evaluation.truth, evaluation.results, scored)
        folder = workdir / "pictures"
        folder.mkdir(exist_ok=True)
        chosen = pictures.spread(len(records.image_ids), PICTURES)
        for index in tqdm(chosen, "drawing", unit="image"):
            picture = pictures.beside_truth(records, index, evaluation.results[index])
            draw.save_png(str(folder / f"{records.image_ids[index]}.png"), picture)
        told.append(f"{len(chosen)} pictures in {folder}")

        def show(image_id: int) -> report.Shown:
            index = records.image_ids.index(image_id)
            picture = pictures.beside_truth(records, index, evaluation.results[index])
            return report.Shown(image_id, report.jpeg_of(picture))

        extremes = confusion.extremes(scored["images"], report.EXTREMES)
        shown = [[show(image_id) for image_id in here] for here in extremes]
        told += _save_scores(workdir, report.page(title, scored, *shown), scored)
        print("\n".join(told))  # when all is saved, for who reads may have enough of it
    processes.finish()


def _eval_results(arguments: argparse.Namespace) -> None:
    from solojax.evaluation import report, results, scores

    if not arguments.gt:
        raise InputError(
            f"--results {arguments.results} needs --gt, the COCO instances it is about"
        )
    if arguments.set or arguments.checkpoint != "latest" or arguments.coordinator:
        raise InputError(
            "--set, --checkpoint and --coordinator are about a run; leave them out with --results"
        )
    if arguments.out:  # before minutes of scoring
        if arguments.out.exists() and not arguments.out.is_dir():
            raise InputError(f"--out {arguments.out} is a file; give a folder")
        arguments.out.mkdir(parents=True, exist_ok=True)
    truth, skipped = results.read_truth(arguments.gt)
    found, kind = results.read(arguments.results, truth)
    if arguments.oracle and kind == "bbox":
        raise InputError(f"--oracle is about masks; {arguments.results} has boxes only")
    told = [
        f"{count} instances of {arguments.gt} are left out: {reason}"
        for reason, count in skipped.items()
    ]
    scored = scores.score(truth, found, kind)
    what = {"segm": "mask", "bbox": "box"}[kind]
    title = f"{what} AP of {arguments.results} on {len(truth['images'])} images"
    told += [title, scores.table(scored)]
    by_image = collections.defaultdict(list)
    for one in found:
        by_image[one["image_id"]].append(one)
    told += _add_oracles(arguments.oracle, truth, by_image, scored)
    if arguments.out:
        told += _save_scores(arguments.out, report.page(title, scored), scored)
    print("\n".join(told))


def _add_oracles(
    names: Sequence[str],
    truth: dict[str, Any],
    results: dict[int, list[dict[str, Any]]],
    scored: dict[str, Any],
) -> list[str]:
    """Scores with true masks or classes and adds the numbers; returns lines for people."""
    from solojax.evaluation import coco, oracle

    replace, told = {"masks": oracle.masks, "classes": oracle.classes}, []
    for name in dict.fromkeys(names):  # each once
        replaced = replace[name](truth, results)
        numbers = coco.mask_ap(truth, [one for here in replaced.values() for one in here])
        told.append(f"with the {name} of the ground truth that each prediction overlaps most")
        told.append(oracle.table(scored, numbers))
        scored[f"oracle_{name}"] = numbers
    return told


def _save_scores(folder: Path, page: str, scored: dict[str, Any]) -> list[str]:
    """Writes eval.json and report.html; returns lines for people."""
    (folder / "eval.json").write_text(json.dumps(scored, indent=2) + "\n")
    (folder / "report.html").write_text(page, encoding="utf-8")
    return [f"all numbers in {folder / 'eval.json'}, to look at in {folder / 'report.html'}"]


def _predict(arguments: argparse.Namespace) -> None:
    import cv2
    from tqdm import tqdm

    from solojax.data import annotations
    from solojax.inference import save, sources
    from solojax.inference.predictor import Predictor

    forms = save.check_forms(arguments.save)
    overlays = not arguments.no_overlays
    if not (forms or overlays):
        raise InputError(f"--no-overlays leaves nothing to do; give --save {','.join(save.FORMS)}")
    if not 0 <= arguments.score <= 1:
        raise InputError(f"--score {arguments.score:g} must be in 0..1")
    inputs = sources.find(arguments.paths)
    save.check_folder(arguments.out, inputs)
    cv2.utils.logging.setLogLevel(0)  # what it says of damaged files would stand between our lines
    predictor = Predictor.from_run(
        arguments.workdir, arguments.checkpoint, batch_size=arguments.batch
    )
    faults: list[str] = []
    done, giants, detections = {"image": 0, "frame": 0}, 0, 0
    with (
        save.Files(arguments.out, inputs, forms, predictor.categories, overlays=overlays) as files,
        _interruptible() as stop,
    ):
        for stream in save.streams(inputs, faults):
            with tqdm(total=stream.total, desc=stream.title, unit=stream.unit) as bar:
                for origin, result in _predict_each(predictor, stream, arguments.tiles, stop):
                    result = result.above(arguments.score)
                    files.add(origin, result)
                    done[stream.unit] += 1
                    giants += max(result.size) > GIANT and not arguments.tiles
                    detections += len(result)
                    bar.update()
            if stop.is_set():
                break
    counts = " and ".join(f"{count} {unit}s" for unit, count in done.items() if count)
    if counts:
        print(f"{detections} detections in {counts}; in {arguments.out}: {files.describe()}")
    if giants:
        print(
            f"longer than {GIANT} pixels: {giants} images; --tiles 1024 finds small things in them"
        )
    if stop.is_set() and not stream.endless:
        raise KeyboardInterrupt
    if faults:
        parts = len(inputs.images) + len(inputs.videos) + len(inputs.webcams)
        which = f"{len(faults)} of {parts} inputs: " if parts > 1 else ""
        raise InputError(which + annotations.shorten(faults))


def _predict_each(
    predictor: Any, stream: Any, tile: int | None, stop: threading.Event
) -> Iterator[Any]:
    """The origin and the result of each image of a stream, until it ends or is to stop."""
    pending: collections.deque[Any] = collections.deque()

    def images() -> Iterator[Any]:
        for origin, image in stream.pictures:
            if stop.is_set():
                return
            pending.append(origin)
            yield image

    results: Iterator[Any] = predictor.stream(images())
    if tile is not None:
        results = (predictor.tiled(image, tile) for image in images())
    elif stream.endless:  # nobody before a webcam waits for a batch to be full
        results = map(predictor, images())
    for result in results:
        yield pending.popleft(), result


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Sets the event on Ctrl-C or SIGTERM, for files to be ended; on the second one it raises."""
    stop = threading.Event()

    def hear(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, heard in before.items():
            signal.signal(number, heard)


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

    from solojax import parallel
    from solojax.training import memory

    given = arguments.device_memory
    if given is not None and not 0 < given < float("inf"):
        raise InputError(f"--device-memory {given:g} must be above 0: GiB of one device")
    config = config_lib.load(arguments.config, arguments.set)
    training, devices = config.training, jax.device_count()
    parallel.check_divisible(training.batch_size, training.accumulate)
    limit = memory.room(given)
    programs, most = memory.survey(config, limit)
    print(
        f"MiB of a training step on each of {devices} x {jax.local_devices()[0].device_kind}, "
        f"{parallel.resolve_precision(training.precision)}, training.accumulate="
        f"{training.accumulate}, as XLA plans it\n{memory.table(programs)}"
    )
    if limit is None:
        print("the device does not say how much memory it has; give it as --device-memory GIB")
        return
    within = (
        f"{limit / 2**30:.1f} GiB, {1 - memory.RESERVE:.0%} of the "
        f"{limit / (1 - memory.RESERVE) / 2**30:.1f} that XLA has of a device"
    )
    if most:
        print(
            f"training.batch_size={most:,} is the largest that fits, {most // devices} images on "
            f"each device: within {within}"
        )
    else:
        print(f"not even one image at a time on each device fits within {within}")
