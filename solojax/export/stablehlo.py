"""One file for CPU, CUDA and TPU, by ``jax.export``, and beside it the program that runs it.

The file is a zip: ``metadata.json``, ``weights.npz``, and for each canvas two programs, those that
``inference.predict`` runs. The weights are arguments of the programs: they are there once, however
many canvases there are, and XLA computes nothing ahead from them, by which the numbers would
differ from those of a run.
"""

import contextlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

from solojax import writing
from solojax.export import metadata, quantised
from solojax.inference import predict
from solojax.inference.trained import Trained
from solojax.training import checkpoint
from solojax.types import InputError

PLATFORMS = ("cpu", "cuda", "tpu")
CALLERS = "jax_traceback_in_locations_limit"  # that a program names, files of this machine
RUNNER = Path(__file__).with_name("run_stablehlo.py")
OUTPUTS = {
    "find": "(weights, images, sizes, originals) -> scores B K float32, best first; labels B K "
    "int32; soft masks B K h w float32 that span the canvas; valid B K bool; overflow B int32, "
    "candidates that a cap left out; and of heads that predict boxes B K 4 float32, x0 y0 x1 y1, "
    "pixels of the original",
    "masks": "(block, soft masks, sizes, originals) -> bits packed along the width, B block tile "
    "tile/8 uint8, pixels of the original; the block is 3 int32: the first detection, top, left",
}


def write(trained: Trained, path: Path, batch: int | None, weights: str = "float32") -> list[Path]:
    """Writes the file and, beside it, its runner; says what was written.

    Args:
      trained: the network.
      path: of the file.
      batch: images that go through the network together; None: any number.
      weights: how they are kept, of ``export.WEIGHTS``.

    Raises:
      InputError: a file cannot be written, or a part of the network is for fixed batches alone.
    """
    arrays: dict[str, Any] = quantised.arrays_of(quantised.store(trained.variables, weights))
    stored = io.BytesIO()
    np.savez(stored, **arrays)
    members, pairs = {"weights.npz": stored.getvalue()}, []
    canvases = trained.config.data.canvases
    (b,) = export.symbolic_shape("b") if batch is None else (batch,)
    for height, width in canvases:
        with _batch_told():
            two = programs(trained, (height, width), b, arrays)
        find, masks = (_export(function, *given) for function, given in two)
        pairs.append((f"find_{height}x{width}.bin", f"masks_{height}x{width}.bin"))
        contents = (bytes(one.serialize()) for one in (find, masks))
        members |= zip(pairs[-1], contents, strict=True)
    described = {
        **metadata.describe(trained, "stablehlo", batch, find.out_avals[0].shape[1], weights),
        "programs": pairs,
        "programs_are": OUTPUTS,
        "tiles": [predict.tile_side(canvas) for canvas in canvases],
        "block": predict.BLOCK,
        "platforms": PLATFORMS,
        "jax": jax.__version__,
        "calling_convention": find.calling_convention_version,
    }
    members["metadata.json"] = (json.dumps(described, indent=2) + "\n").encode()
    runner = path.with_name(RUNNER.name)
    writing.put(path, _zipped(members))
    writing.put(runner, RUNNER.read_bytes())
    return [path, runner]


def programs(
    trained: Trained, canvas: tuple[int, int], b: Any, arrays: dict[str, Any]
) -> list[tuple[Callable, tuple]]:
    """``find`` and ``masks`` of a canvas (``OUTPUTS``), each with the shapes of its arguments.

    Args:
      trained: the network.
      canvas: (height, width), network pixels.
      b: images that go through the network together; may be a dimension of ``jax.export``.
      arrays: ``quantised.arrays_of`` its weights.
    """
    model = trained.config.model
    detect = predict.make_detect(model)

    def find(weights: dict[str, Any], images: Any, sizes: Any, originals: Any) -> tuple[Any, ...]:
        variables = checkpoint.fill(trained.variables, quantised.restore(weights))
        found = detect(variables, images, sizes)
        boxes = predict.restore_boxes(found.boxes, sizes, originals)
        always = (found.scores, found.labels, found.masks, found.valid, found.overflow)
        return always if boxes is None else (*always, boxes)

    weights = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arrays)
    images = jax.ShapeDtypeStruct((b, *canvas, 3), np.uint8)
    sizes = jax.ShapeDtypeStruct((b, 2), np.int32)
    given = (weights, images, sizes, sizes)
    soft = jax.eval_shape(find, *given)[2]
    block = jax.ShapeDtypeStruct((3,), np.int32)
    return [(find, given), (predict.make_block(model, canvas), (block, soft, sizes, sizes))]


@contextlib.contextmanager
def _batch_told() -> Iterator[None]:
    try:
        yield
    except TypeError as error:
        if "_DimExpr" not in str(error):
            raise
        raise InputError(
            "this network is not for any number of images at a time: a part of it takes len() of a "
            "batch, where x.shape[0] is asked for; give --batch 1"
        ) from error


def _export(function: Callable, *arguments: Any) -> export.Exported:
    told = getattr(jax.config, CALLERS)
    jax.config.update(CALLERS, 0)
    try:
        return export.export(jax.jit(function), platforms=PLATFORMS)(*arguments)
    finally:
        jax.config.update(CALLERS, told)


def _zipped(members: dict[str, bytes]) -> bytes:
    """A zip whose bytes follow from what is in it alone."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return made.getvalue()
