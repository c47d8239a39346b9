"""The run lengths of Label Studio's brush: those of the npm package rle-pack, of RGBA pixels."""

from typing import Any

import numpy as np

from solojax.data import rle
from solojax.types import InputError

MOST_PIXELS = 2**28  # of an image with a brush; a gigabyte of RGBA
CHANNELS = 4  # the last, alpha, is the mask
LONGEST = 2**16  # values in a block that we write
BLOCK = 27  # bits of it: of which 1 that it repeats, 2 which length, 16 its count, 8 the value


def read_brush(values: Any, stated: tuple[Any, Any], where: str) -> np.ndarray:
    """The bytes of a brush -> its mask, ``H W`` bool.

    A head of 32 bits says how many numbers follow, 5 bits how many bits each has, and 4 of 4 bits
    each how long counts may be. Then come blocks: a bit, whether one number is repeated; 2 bits,
    which of the four lengths its count has; the count; the number or the numbers.

    Args:
      values: the bytes, as a list of integers.
      stated: (height, width) of the image.
      where: for people.

    Raises:
      InputError: they are cut, or do not make an image of that size.
    """
    sound = isinstance(values, list) and all(type(v) is int and 0 <= v < 256 for v in values)
    if not sound or not all(type(side) is int and side > 0 for side in stated):
        raise InputError(f"{where}: a brush without 'rle' or its original size; export it again")
    height, width = stated
    bits = _Bits(bytes(values))
    try:
        count, word = bits.read(32), bits.read(5) + 1
        lengths = [bits.read(4) + 1 for _ in range(4)]
        if count != height * width * CHANNELS or height * width > MOST_PIXELS or word > 8:
            raise InputError(
                f"{where}: its brush has {count} values, not those of {width}x{height} pixels; "
                "export it again or delete it"
            )
        pixels, done = np.zeros(count, bool), 0
        while done < count:
            repeated = bits.read(1)
            end = done + bits.read(lengths[bits.read(2)]) + 1
            if end > count:
                raise IndexError
            pixels[done:end] = bits.read(word) if repeated else bits.read_many(word, end - done)
            done = end
    except IndexError:
        raise InputError(f"{where}: its brush is cut; export it again or delete it") from None
    return pixels.reshape(height, width, CHANNELS)[..., -1]


def write_brush(counts: bytes, size: tuple[int, int]) -> list[int]:
    """A mask -> the bytes of its brush, of which ``read_brush`` makes the same pixels.

    Args:
      counts: compressed run lengths of at least one pixel.
      size: (height, width) of the image, at most ``MOST_PIXELS``.
    """
    height, width = size
    (patch,), ((top, left),) = rle.decode_patches([counts], height)
    rows = np.zeros((len(patch), width), np.uint8)
    rows[:, left : left + patch.shape[1]] = patch
    runs = rle.row_runs(rows)
    above, below = top * width, (height - top - len(patch)) * width
    lengths = CHANNELS * np.array([above, *runs, below], np.int64)
    values = np.array([0, *np.arange(len(runs)) % 2 * 255, 0])[lengths > 0]
    lengths = lengths[lengths > 0]
    blocks = -(-lengths // LONGEST)
    sizes = np.full(blocks.sum(), LONGEST)
    sizes[np.cumsum(blocks) - 1] -= blocks * LONGEST - lengths
    words = 1 << BLOCK - 1 | sizes - 1 << 8 | np.repeat(values, blocks)
    bits = np.unpackbits(words.astype(">u4").view(np.uint8)).reshape(-1, 32)[:, -BLOCK:]
    head = f"{height * width * CHANNELS:032b}{8 - 1:05b}" + 4 * f"{16 - 1:04b}"
    packed: list[int] = np.packbits([*map(int, head), *bits.ravel()]).tolist()
    return packed


class _Bits:
    """Numbers of bits, the most significant first."""

    def __init__(self, content: bytes) -> None:
        self._bits = np.unpackbits(np.frombuffer(content, np.uint8))
        self._text = self._bits.tobytes().translate(bytes.maketrans(b"\0\1", b"01"))
        self._place = 0

    def read(self, size: int) -> int:
        text = self._text[self._place : self._place + size]
        if len(text) < size:
            raise IndexError
        self._place += size
        return int(text, 2)

    def read_many(self, size: int, count: int) -> np.ndarray:
        """Which of ``count`` numbers are not 0."""
        part = self._bits[self._place : self._place + size * count]
        if len(part) < size * count:
            raise IndexError
        self._place += size * count
        return np.asarray(part.reshape(count, size).any(1))
