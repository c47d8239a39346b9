"""The PNGs of label maps: of ids of segments as COCO has them, and of the size of their images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from etils.epath import Path

from solojax.data import panoptic_ids
from solojax.data.images import files as image_files
from solojax.data.images import headers as image_headers
from solojax.types import IGNORED, InputError

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


def read_segments(
    path: Path, size: tuple[int, int], known: Sequence[int], labels: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """The segments of an image of that (height, width), and the labels of its pixels.

    Args:
      path: of the PNG.
      size: of the image.
      known: ids of its segments, ascending.
      labels: of each of them.

    Returns:
      ``H W`` int32, ids, 0 where it is void; ``H W`` uint8; ids of segments without a pixel.

    Raises:
      InputError: as of ``read_ids``, or a pixel has an id that no segment has.
    """
    ids = read_ids(path, size)
    line = ids.ravel()
    starts = np.flatnonzero(np.diff(line, prepend=-1))  # of equal neighbours: few are looked up
    values = line[starts]
    numbers, names = np.append(0, known), np.append(np.uint8(IGNORED), labels)
    places = np.minimum(np.searchsorted(numbers, values), len(numbers) - 1)
    wrong = np.unique(values[numbers[places] != values]).tolist()
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise InputError(
            f"{path} has the id {wrong[0]}{more}, which segments_info does not list; list it, or "
            "make these pixels 0 (void)"
        )
    drawn = np.repeat(names[places].astype(np.uint8), np.diff(starts, append=line.size))
    return ids, drawn.reshape(size), np.setdiff1d(known, values).tolist()
