"""The input pipeline on the shapes set, drawn for it, with the canvas and recipe of the config."""

import dataclasses
from collections.abc import Iterator

from solojax import config as config_lib
from solojax.bench import rows
from solojax.bench.settings import Settings
from solojax.models import detector
from solojax.timing import Timing

DRAWN = 64  # images, again and again


def section(settings: Settings) -> Iterator[rows.Row]:
    """A row for all cores, one for one; ``solojax bench data`` says more, and of any set."""
    from solojax.data import synthetic, throughput  # with TensorFlow
    from solojax.data.records import coco

    root = settings.scratch / "shapes"
    side = min(min(settings.canvas), 640)
    synthetic.draw_shapes(root, train=DRAWN, val=1, size=side, processes=1)
    fresh = config_lib.Data()
    data = dataclasses.replace(
        settings.config.data,
        root=str(root),
        records=str(settings.scratch / "records"),
        canvases=(settings.canvas,),
        **{
            name: getattr(fresh, name)
            for name in (
                "train_json",
                "train_images",
                "val_json",
                "val_images",
                "categories",
                "stuff",
            )
        },
    )
    batch_size = max(settings.batches)
    measured = throughput.measure(
        coco.prepare(data, "train"),
        data,
        mask_strides=settings.config.model.head.mask_strides,
        label_strides=detector.label_strides(settings.config.model),
        batch_size=batch_size,
        images=settings.images,
    )
    for cores, rate in measured.rates.items():
        row = {"name": f"batches, {cores} core{'s' if cores > 1 else ''}", "images": batch_size}
        yield rows.with_times(row, Timing(0.0, (batch_size / rate,), 1), None)
