"""The programs of ``stablehlo`` for TensorFlow: a SavedModel, or files of LiteRT."""

import contextlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorflow as tf
from jax.experimental import jax2tf

from solojax import writing
from solojax.export import metadata, quantised, stablehlo
from solojax.inference import predict
from solojax.inference.trained import Trained
from solojax.types import InputError

SEEN = ("images", "sizes", "originals")
PLACES = ("block", "soft", "sizes", "originals")
FOUND = ("scores", "labels", "soft", "valid", "overflow", "boxes")


def write(trained: Trained, path: Path, batch: int, weights: str = "float32") -> list[Path]:
    """Writes a SavedModel, a folder: ``find_HxW`` and ``masks_HxW`` of each canvas.

    Raises:
      InputError: there is something of that name, or it cannot be written.
    """
    if path.exists():
        raise InputError(f"{path} is there already; remove it, or give another --out")
    module, described = _module(trained, batch, weights)
    with writing.told(path), tempfile.TemporaryDirectory(dir=path.resolve().parent) as folder:
        part = Path(folder) / "part"
        tf.saved_model.save(module, str(part), signatures=_signatures(module))
        (part / "assets.extra").mkdir()
        (part / "assets.extra" / "metadata.json").write_bytes(described)
        os.replace(part, path)
    return [path]


def write_lite(trained: Trained, path: Path, batch: int, weights: str = "float32") -> list[Path]:
    """Writes files of LiteRT, one for each program.

    Raises:
      InputError: its converter refuses an operation, or a file cannot be written.
    """
    module, described = _module(trained, batch, weights)
    made = {path.with_suffix(".json"): described}
    for name, function in _signatures(module).items():
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [function.get_concrete_function()], module
        )
        try:
            with _silence():
                made[path.with_stem(f"{path.stem}_{name}")] = converter.convert()
        except Exception as error:  # of several kinds, all with the compiler's words
            raise refusal(name, str(error)) from error
    for one, content in made.items():
        writing.put(one, content)
    return list(made)


def _module(trained: Trained, batch: int, kind: str) -> tuple[tf.Module, bytes]:
    """A function for each program, with the names of its results; and the metadata."""
    module, weights = tf.Module(), quantised.arrays_of(quantised.store(trained.variables, kind))
    module.weights = [tf.Variable(one, trainable=False) for one in weights.values()]
    canvases, programs = trained.config.data.canvases, []
    for canvas in canvases:
        with _sorting():  # here as well: what has been traced is not traced again
            find, masks = stablehlo.programs(trained, canvas, batch, weights)
        most, size = masks[1][1].shape[1], f"{canvas[0]}x{canvas[1]}"
        programs.append((f"find_{size}", f"masks_{size}"))
        setattr(
            module, f"find_{size}", _function(*find, SEEN, FOUND, list(weights), module.weights)
        )
        setattr(module, f"masks_{size}", _function(*masks, PLACES, ("masks",)))
    described = {
        **metadata.describe(trained, "savedmodel", batch, most, kind),
        "programs": programs,
        "programs_are": stablehlo.OUTPUTS,
        "tiles": [predict.tile_side(canvas) for canvas in canvases],
        "block": predict.BLOCK,
    }
    return module, (json.dumps(described, indent=2) + "\n").encode()


def _function(
    function: Callable,
    given: tuple,
    inputs: Sequence[str],
    names: Sequence[str],
    of_weights: Sequence[str] = (),
    weights: Sequence[tf.Variable] = (),
) -> Any:
    """For TensorFlow, its results by name; weights are none of its arguments."""
    converted = jax2tf.convert(
        function, with_gradient=False, native_serialization_platforms=stablehlo.PLATFORMS
    )

    def call(*arrays: Any) -> dict[str, Any]:
        first = [dict(zip(of_weights, weights, strict=True))] if weights else []
        found = converted(*first, *arrays)
        found = found if isinstance(found, tuple) else (found,)
        return dict(zip(names, found, strict=False))  # boxes are of some heads alone

    shapes = zip(given[1 if weights else 0 :], inputs, strict=True)
    signature = [tf.TensorSpec(x.shape, x.dtype, name) for x, name in shapes]
    made = tf.function(call, input_signature=signature, autograph=False)
    with _sorting():
        made.get_concrete_function()
    return made


def _signatures(module: tf.Module) -> dict[str, Any]:
    return {
        name: function
        for name, function in vars(module).items()
        if name.startswith(("find_", "masks_"))
    }


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Nothing comes to stderr, where the converter writes the whole program when it fails."""
    sys.stderr.flush()
    before = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


@contextlib.contextmanager
def _sorting() -> Iterator[None]:
    """What is traced within sorts where it would take the best: TensorFlow knows no ``top_k``."""
    functions: Any = jax.lax
    before, functions.top_k = functions.top_k, best_by_sorting
    try:
        yield
    finally:
        functions.top_k = before


def best_by_sorting(x: Any, k: int, *, axis: int = -1) -> list[Any]:
    """As ``jax.lax.top_k`` of float32; equals in their order."""
    axis = axis % x.ndim
    places = jax.lax.broadcasted_iota(np.int32, x.shape, axis)
    ordered = jax.lax.sort((-x, places), dimension=axis, num_keys=1, is_stable=True)
    least, order = (jax.lax.slice_in_dim(one, 0, k, axis=axis) for one in ordered)
    return [-least, order]


def refusal(program: str, words: str) -> InputError:
    """What to say of what TensorFlow Lite's converter says."""
    found = re.findall(r"failed to legalize operation '([\w.]+)'|'([\w.]+)' op is n", words)
    names = sorted({one or other for one, other in found})
    which = f"the operation {', '.join(names)}" if names else words.strip().partition("\n")[0]
    return InputError(
        f"--to litert: the converter of TensorFlow {tf.__version__} refuses {which} in {program}; "
        "use --to onnx, or --to savedmodel with TensorFlow itself"
    )
