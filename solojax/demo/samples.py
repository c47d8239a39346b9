"""Images to begin with: validation images of the run where they still lie, else drawn shapes."""

from typing import Any, NamedTuple

import cv2
import numpy as np

from solojax import config as config_lib
from solojax.data import annotations
from solojax.data.findings import Findings
from solojax.data.images import files as image_files
from solojax.data.images import search as image_search
from solojax.data.records import layout
from solojax.data.synthetic.layout import lay_out
from solojax.data.synthetic.painting import paint
from solojax.demo.addresses import address_of
from solojax.inference import pictures, sources
from solojax.inference.save.files import encode
from solojax.types import InputError

COUNT = 6
TRIED = 4 * COUNT  # images of the set, of which some may be gone
MOST_PIXELS = 2 * 10**7  # of one: page and start should not wait for it
THUMBNAIL_SIDE = 192  # of the longer side, pixels
DRAWN_SIDE = 256


class Sample(NamedTuple):
    """An image that a page offers."""

    name: str
    thumbnail: str  # an address that holds a JPEG
    file: Any  # its bytes, or the path to read them from

    def read(self) -> bytes:
        """Its file; raises InputError or OSError where it is gone."""
        return self.file if isinstance(self.file, bytes) else image_files.read_file(self.file)


def find(data: config_lib.Data) -> list[Sample]:
    """At most ``COUNT`` images, spread over the validation set; drawn ones where it is gone."""
    try:
        paths = _validation_files(data)
    except (InputError, OSError):
        paths = []
    found: list[Sample] = []
    for path in paths:
        if len(found) == COUNT:
            break
        try:
            found.append(_sample(path.name, path))
        except (InputError, OSError):
            continue
    return found or [_sample(f"shapes {i + 1}.png", _draw(i)) for i in range(COUNT)]


def _validation_files(data: config_lib.Data) -> list[Any]:
    """Paths of ``TRIED`` images as far as they are there, in an order that begins with a spread."""
    if not layout.has_split(data, "val"):
        return []
    json_path, root = layout.locate(data, "val")
    images = annotations.read_images(json_path)
    names: dict[int | str, str] = {
        images[i].id: images[i].name for i in pictures.spread(len(images), TRIED)
    }
    places = image_search.find(names, root, data.follow_links, Findings())
    sound = [place.path for place in places.values() if not place.fault]
    first = pictures.spread(len(sound), COUNT)
    return [sound[i] for i in first] + [path for i, path in enumerate(sound) if i not in first]


def _sample(name: str, file: Any) -> Sample:
    image = sources.decode_image(Sample(name, "", file).read(), name, most_pixels=MOST_PIXELS)
    return Sample(name, address_of(image, THUMBNAIL_SIDE), file)


def _draw(number: int) -> bytes:
    rng = np.random.default_rng(number)
    shapes, _ = lay_out(rng, DRAWN_SIDE)
    drawn, _ = paint(rng, shapes, DRAWN_SIDE)
    return bytes(encode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR)))
