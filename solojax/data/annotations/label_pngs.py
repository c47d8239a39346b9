"""The PNGs of label maps: of ids of segments as COCO has them, and of the size of their images."""

from typing import Any

import numpy as np
from etils.epath import Path

from solojax.data import panoptic_ids
from solojax.data.images import files as image_files
from solojax.data.images import headers as image_headers
from solojax.types import InputError

COLOURS = {0: "gray", 3: "palette", 4: "gray with transparency"}  # of PNGs, but for RGB


def check_size(path: Any, found: tuple[int, int], size: tuple[int, int]) -> None:
    """Raises InputError where a map is of another (height, width) than its image."""
    if found != size:
        raise InputError(
            f"{path} is {found[1]}x{found[0]} where its image is {size[1]}x{size[0]} "
            "(width x height); write it at the size of the image"
        )


def open_ids(path: Path, size: tuple[int, int]) -> bytes:
    """The PNG of an image of that (height, width), its header checked.

    Raises:
      InputError: the file is missing, of another size or no RGB PNG of 8 bits.
    """
    encoded = image_files.read_file(path)
    header = image_headers.read(encoded)
    if header is None or header.form != "PNG":
        raise InputError(f"{path} is no PNG; write ids of segments into one")
    check_size(path, (header.height, header.width), size)
    depth, colour = encoded[24:26]
    if depth != 8 or colour in COLOURS:
        kind = COLOURS.get(colour, "RGB")
        raise InputError(
            f"{path} is a {kind} PNG of {depth} bits where ids are wanted as RGB of 8 (red + 256 "
            "green + 65536 blue); data import labels reads folders of other PNGs"
        )
    return encoded


def read_ids(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The ids of the segments of an image of that (height, width), ``H W`` int32.

    Raises:
      InputError: as of ``open_ids``, or the file is damaged.
    """
    encoded = open_ids(path, size)
    try:
        pixels, _ = image_files.decode(encoded, as_stored=True)
    except InputError as fault:
        raise InputError(f"{path} {fault}") from None
    return panoptic_ids.of_rgb(pixels)
