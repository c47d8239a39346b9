"""``cvat.xml``: what was found as "CVAT for images 1.1" has it, masks as run lengths."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

from solojax.config import Category
from solojax.data import rle
from solojax.inference.result import Result
from solojax.inference.save.files import ImageFiles, Rows, xml
from solojax.inference.sources import Inputs
from solojax.inference.streams import Origin


class Cvat:
    """An element for each image or frame; those of a video are written (``ImageFiles``)."""

    NAMES: ClassVar[tuple[str, ...]] = ("cvat.xml", "*")

    def __init__(self, out: Path, inputs: Inputs, categories: Sequence[Category]):
        self._files, self._count = ImageFiles(out, inputs), 0
        meta = ElementTree.Element("meta")
        labels = ElementTree.SubElement(ElementTree.SubElement(meta, "task"), "labels")
        for category in categories:
            label = ElementTree.SubElement(labels, "label")
            ElementTree.SubElement(label, "name").text = category.name
        head = f"<annotations>\n<version>1.1</version>\n{xml(meta)}"
        self._rows = Rows(out / self.NAMES[0], head)

    def add(self, origin: Origin, result: Result) -> None:
        # By the name, else by the number, a frame finds its task of images or of the video.
        number = self._count if origin.frame is None else origin.frame
        self._count += 1
        height, width = map(str, result.size)
        name = self._files.name(origin, result)
        image = ElementTree.Element("image", id=str(number), name=name, width=width, height=height)
        for place, (label, counts) in enumerate(zip(result.names, result.rles, strict=True)):
            (patch,), ((top, left),) = rle.decode_patches([counts], result.size[0])
            ElementTree.SubElement(
                image,
                "mask",
                label=label,
                source="auto",
                occluded="0",
                rle=", ".join(map(str, rle.row_runs(patch).tolist())),
                left=str(left),
                top=str(top),
                width=str(patch.shape[1]),
                height=str(patch.shape[0]),
                z_order=str(len(result) - place),  # better ones on top
            )
        self._rows.write(xml(image))

    def close(self, begun: bool) -> None:
        self._rows.close("</annotations>", begun)

    def describe(self) -> str:
        return f"{self.NAMES[0]} (of images in {self._files.root})"
