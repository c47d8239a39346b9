"""Measures all that is wanted of an accelerator, within eight minutes, and leaves a page of it.

    python tools/bench_accelerator.py FOLDER

Needs JAX with its devices, flax, optax, NumPy, OpenCV, Pillow, pycocotools, tqdm and PyYAML; no
network, no TensorFlow, no data. ``results.md`` in the folder goes into docs/performance.md,
``results.json`` has all numbers, ``profile`` the traces. With ``--tiny`` a small network on small
images, which is there to see that all of it runs. PyTorch is measured first, in a process of its
own that leaves the device empty, where this Python has it or ``--torch`` names one that does.
"""

import argparse
import dataclasses
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from solojax import config as config_lib

NETWORKS = {
    "solov2_r50_fpn_1x": ["data.canvases=((800,1344),)"],
    "solov2_light_448_r18_fpn_3x": ["data.canvases=((448,768),)"],
}
TINY = [
    "data.canvases=((64,96),)",
    "model.backbone.width=8",
    "model.neck.width=8",
    "model.head.width=8",
    "model.head.depth=1",
    "model.head.groups=4",
    "model.head.kernel_width=8",
    "model.head.mask_feature_width=8",
    "model.head.grid.sizes=(8,6,4,3,2)",
    "model.head.selection.nms_candidates=20",
    "model.head.selection.max_detections=10",
]


def twin_of(config: config_lib.Config, batch: int, within: float) -> dict[str, Any]:
    """What ``bench_torch.py`` is told of a config."""
    model, head = config.model, config.model.head
    return {
        "depth": model.backbone.depth,
        "fpn": model.neck.width,
        "width": head.width,
        "convs": head.depth,
        "kernel": head.kernel_width,
        "mask": head.mask_feature_width,
        "classes": head.num_classes,
        "grids": head.grid.sizes,
        "canvas": config.data.canvases[0],
        "candidates": head.selection.nms_candidates,
        "batch": batch,
        "device": "cuda",
        "compile": True,
        "bfloat16": True,
        "repeats": 10,
        "within": within,
    }


def measure_twin(python: str, about: dict[str, Any], seconds: float) -> list[dict[str, Any]]:
    """Its rows, and a line where it fails or takes too long: those that came until then."""
    script = str(Path(__file__).with_name("bench_torch.py"))
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        try:
            command = [python, script, json.dumps(about)]
            done = subprocess.run(command, stdout=out, stderr=errors, timeout=seconds)
            errors.seek(0)
            said = errors.read().strip().splitlines() or ["without a word"]
            failure = f"PyTorch failed: {said[-1]}" if done.returncode else ""
        except subprocess.TimeoutExpired:
            failure = f"PyTorch took longer than {seconds:.0f} s"
        if failure:
            print(failure, flush=True)
        out.seek(0)
        return [json.loads(line) for line in out if line.startswith("{") and line.endswith("}\n")]


def main(arguments: list[str]) -> None:
    """Reads the arguments and measures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, metavar="FOLDER")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--tiny", action="store_true", help="small networks, for any machine")
    parser.add_argument("--torch", metavar="PYTHON", help="one that has PyTorch with CUDA")
    given = parser.parse_args(arguments)
    networks = {name: config_lib.load(name, sets) for name, sets in NETWORKS.items()}
    if given.tiny:
        name = "solov2_light_448_r18_fpn_3x"
        networks = {"tiny": config_lib.load(name, [*NETWORKS[name], *TINY])}
    twin, begun = {}, time.monotonic()
    share = 1 / 4  # of the minutes, for the first network; half of it for the next
    torch: str = given.torch or ""  # the Python that has it, if any
    if not torch and not given.tiny and importlib.util.find_spec("torch"):
        torch = sys.executable
    for name, config in networks.items() if torch else ():
        about = twin_of(config, given.batch, 2.0)
        twin[name] = measure_twin(torch, about, 60 * given.minutes * share)
        share /= 2
        for row in twin[name]:
            print(name, "PyTorch", row, flush=True)
    from solojax.bench import accelerator  # with JAX, which takes most of a device's memory

    left = given.minutes - (time.monotonic() - begun) / 60
    plan = accelerator.Plan(networks, minutes=left, batch=given.batch)
    if given.tiny:
        plan = dataclasses.replace(plan, largest=4, repeats=2, within=0.1, compared=(64, 96))
    accelerator.bench(plan, given.out, twin, lambda line: print(line, flush=True))
    print(f"{given.out}/results.md is the page for docs/performance.md")


if __name__ == "__main__":
    main(sys.argv[1:])
