"""A file for ONNX Runtime: one image on its canvas in, what is in it at its original size out."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnx
from jax import export
from onnx import helper

from solojax import writing
from solojax.export import metadata, quantised
from solojax.export.onnx.graph import IR_VERSION, OPSET, Graph, Value
from solojax.export.onnx.program import loop
from solojax.export.onnx.program import write as write_program
from solojax.inference import predict
from solojax.inference.trained import Trained
from solojax.ops import masks
from solojax.training import checkpoint

INPUTS = {
    "image": "H W 3 uint8 RGB, at the top left of its canvas, zeros elsewhere",
    "size": "2 int32, (height, width) of the image on the canvas, pixels of the canvas",
    "original": "2 int32, (height, width) of the image before it was resized",
}
OUTPUTS = {
    "scores": "N float32, best first",
    "labels": "N int32, places in categories",
    "masks": "N height ceil(width/8) uint8, bits along the width (most significant first)",
    "boxes": "N 4 float32 x0 y0 x1 y1, pixels of the original; of heads that predict them",
}


def write(trained: Trained, path: Path, weights: str = "float32") -> list[Path]:
    """Writes a file for each canvas, its size in the name where there are several.

    Args:
      trained: the network.
      path: of the file.
      weights: how they are kept, of ``export.WEIGHTS``.

    Raises:
      InputError: a file cannot be written, or the network has an operation without a rule.
    """
    made, stored = [], quantised.store(trained.variables, weights)
    canvases = trained.config.data.canvases
    for height, width in canvases:
        one = path.with_stem(f"{path.stem}_{height}x{width}") if len(canvases) > 1 else path
        model, most = _model(trained, (height, width), stored)
        described = {
            **metadata.describe(trained, "onnx", 1, most, weights),
            "canvases": [(height, width)],
            "inputs": INPUTS,
            "outputs": OUTPUTS,
        }
        helper.set_model_props(model, {"solojax": json.dumps(described)})
        writing.put(one, model.SerializeToString())
        made.append(one)
    return made


def _model(
    trained: Trained, canvas: tuple[int, int], stored: dict[str, quantised.Stored]
) -> tuple[onnx.ModelProto, int]:
    """The model of a canvas, and how many detections it gives at most."""
    graph, detector = Graph(), trained.config.model
    image = graph.input((*canvas, 3), "uint8", "image")
    size, original = (graph.input((2,), "int32", name) for name in ("size", "original"))
    detect = predict.make_detect(detector)
    arrays = quantised.restore(quantised.arrays_of(stored))
    weights = [graph.weight(arrays[name], stored[name]) for name in sorted(arrays)]

    def find(arrays: Any, image: Any, size: Any, original: Any) -> tuple[Any, ...]:
        variables = checkpoint.fill(trained.variables, arrays)
        found = detect(variables, image[None], size[None])
        boxes = predict.restore_boxes(found.boxes, size[None], original[None])
        kept = (found.scores, found.labels, found.masks, boxes)
        return *(one[0] for one in kept if one is not None), found.valid.sum()

    pair = jax.ShapeDtypeStruct((2,), np.int32)
    found = jax.make_jaxpr(find)(arrays, jax.ShapeDtypeStruct(image.shape, np.uint8), pair, pair)
    *kept, count = write_program(graph, found, [*weights, image, size, original])
    most = kept[0].shape[0]
    (soft, *_), kept = kept[2:3], [*kept[:2], *kept[3:]]
    count = graph.reshape(graph.cast(count, "int64"), ())
    packed, seen = _restore(graph, detector, canvas, soft, count, size, original)
    some = [_first(graph, one, count) for one in kept]
    results = [
        graph.emit("Compress", [one, seen], ("found", *one.shape[1:]), one.dtype, axis=0)
        for one in (*some[:2], packed, *some[2:])
    ]
    names = ["scores", "labels", "masks", "boxes"][: len(results)]
    results = [graph.rename(one, name) for one, name in zip(results, names, strict=True)]
    return model_of(graph, [image, size, original], results), most


def model_of(graph: Graph, inputs: list[Value], outputs: list[Value]) -> onnx.ModelProto:
    """The whole of a graph, checked."""
    whole = graph.close(graph.nodes[0], inputs, outputs)
    whole.initializer.extend(graph.weights)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(
        whole, opset_imports=opsets, ir_version=IR_VERSION, producer_name="solojax"
    )
    onnx.checker.check_model(model)
    return model


def _first(graph: Graph, x: Value, count: Value) -> Value:
    """The first ``count`` rows."""
    zero, axis = (graph.constant(np.array([0], np.int64)) for _ in range(2))
    ends = graph.reshape(count, (1,))
    return graph.emit("Slice", [x, zero, ends, axis], ("count", *x.shape[1:]), x.dtype)


def _restore(
    graph: Graph,
    detector: Any,
    canvas: tuple[int, int],
    soft: Value,
    count: Value,
    size: Value,
    original: Value,
) -> tuple[Value, Value]:
    """Packed masks of the original, one after the other, and which of them have a pixel."""
    height, octets = export.symbolic_shape("height, octets")
    frame: Any = (height, 8 * octets)

    def restore(mask: Any, size: Any, original: Any) -> tuple[Any, Any]:
        packed = masks.restore(
            mask[None],
            size,
            original,
            output_size=frame,
            canvas=canvas,
            threshold=detector.head.mask_threshold,
        )[0]
        return packed, (packed > 0).any()

    pair = jax.ShapeDtypeStruct((2,), np.int32)
    mask = jax.ShapeDtypeStruct(soft.shape[1:], np.float32)
    program = jax.make_jaxpr(restore)(mask, pair, pair)
    lengths = [
        graph.emit(
            "Gather", [graph.cast(original, "int64"), graph.constant(i, "int64")], (), "int64"
        )
        for i in range(2)
    ]
    seven, eight = (graph.constant(n, "int64") for n in (7, 8))
    bits = graph.emit("Add", [lengths[1], seven], (), "int64")
    graph.dimensions = {
        "height": lengths[0],
        "octets": graph.emit("Div", [bits, eight], (), "int64"),
    }
    with graph.loop() as nodes:
        number, going = graph.input((), "int64"), graph.input((), "bool")
        one = graph.emit("Gather", [soft, number], soft.shape[1:], "float32", axis=0)
        made = write_program(graph, program, [one, size, original])
        body = graph.close(nodes, [number, going], [going, *made])
    packed, seen = loop(graph, count, None, [], body, made)
    graph.dimensions["count"] = count
    shape = ("count", *packed.shape)  # of none gathered a runtime knows no shape
    packed = graph.emit("Reshape", [packed, graph.shape(shape)], shape, "uint8", allowzero=1)
    return packed, seen._replace(shape=("count",))
