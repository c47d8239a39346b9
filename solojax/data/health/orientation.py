"""Whether masks lie on photos as they are stored or as their EXIF orientation turns them.

Of a photo turned by 90 degrees the sides in the JSON tell. Of a square one, and of those that are
turned by 180 degrees or mirrored, they do not: these are taken as the others of the set are, or as
their masks fit what is seen.
"""

import collections
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from solojax.data.findings import Effect, Findings
from solojax.data.health.file_survey import run
from solojax.data.images import files as image_files
from solojax.data.images import headers as image_headers
from solojax.data.images import values as image_values
from solojax.data.images.chunks import Header
from solojax.types import InputError

HEAD = 2**18  # bytes in which a JPEG has its header
MOST_LOOKED_AT = 60  # photos whose pixels are compared with their masks
MOST_MASKS = 12  # of each
SIDE = 256  # pixels of the longer side, to which they are shrunk for that
RING = 5  # pixels around a mask which are compared with it
ENOUGH = 10  # masks that have to tell
AGREE = 0.7  # of them, which have to tell the same
CLEAR = 1.5  # mean of logarithms, from which on fewer are enough if all tell the same
FEWEST = 3  # photos that have to tell that they are turned over, however clearly
UNLIKELY = 1e-4  # chance of sound masks by which as many fit a photo turned over better
FAINT = 0.05  # of what a mask stands out by, so much tells nothing
CURE = "see them with data show; if masks lie beside, turn the files upright and export again"


class Photo(NamedTuple):
    """A photo that EXIF turns or mirrors."""

    image: Any  # annotations.Image
    size: tuple[int, int]  # (height, width) as it is stored, pixels
    orientation: int  # 2 to 8

    @property
    def is_as_stored(self) -> bool | None:
        """Whether the JSON has its sides as they are stored; None where they do not tell."""
        sides = self.image.height, self.image.width
        if self.orientation < 5 or self.size[0] == self.size[1]:
            return None
        return sides == self.size


def find(images: Sequence[Any], *, threads: int) -> list[Photo]:
    """Those of ``annotations.Image`` that EXIF turns, by the headers of their files."""
    headers = run(_read_header, [image.path for image in images], "reading headers", threads)
    return [
        Photo(image, (header.height, header.width), header.orientation)
        for image, header in zip(images, headers, strict=True)
        if header is not None and header.orientation > 1
    ]


def _read_header(path: Any) -> Header | None:
    try:
        with path.open("rb") as file:
            encoded = file.read(HEAD)
            header = image_headers.read(encoded)
            # Other forms than JPEG may have it at their end.
            if len(encoded) == HEAD and (header is None or header.form != "JPEG"):
                header = image_headers.read(encoded + file.read())
    except OSError:  # told by whoever reads all of it
        return None
    return header


def look_upside_down(photos: Sequence[Photo], findings: Findings, *, threads: int) -> None:
    """Adds that masks fit images which EXIF does not turn better where these are turned over."""
    for turn, how in ((4, "upside down"), (2, "from right to left"), (3, "turned by 180 degrees")):
        if _are_turned_over([one._replace(orientation=turn) for one in photos], threads):
            what = f"images of which the masks stand out better {how}"
            cure = "see them with data show; count x from the left and y from the top"
            places = [str(one.image.path) for one in photos]
            findings.add_all("doubtful", what, places, cure=cure)
            return


def _are_turned_over(photos: Sequence[Photo], threads: int) -> bool:
    """Whether masks fit photos turned so in more of them than chance would have it.

    Unlike of a photo that EXIF turns, nothing but the masks speaks for it. Copies count once.
    """
    by_bytes = collections.defaultdict[int, list[float]](list)
    for photo, told in _look_at_some(photos, threads):
        by_bytes[photo] += told
    means = np.array([np.mean(told) for told in by_bytes.values() if told])
    count, others = len(means), int((means >= 0).sum())
    if count >= FEWEST and not others and means.mean() <= -CLEAR:
        return True
    chance = sum(math.comb(count, k) for k in range(others + 1)) / 2**count
    return others <= (1 - AGREE) * count and chance < UNLIKELY


def settle(images: Sequence[Any], findings: Findings, *, threads: int) -> list[Any]:
    """The same ``annotations.Image`` with ``as_stored`` set where their sides do not tell."""
    photos = find(images, threads=threads)
    if not decide(photos, findings, threads=threads):
        return list(images)
    open_ = {one.image.id for one in photos if one.is_as_stored is None}
    return [image._replace(as_stored=image.id in open_) for image in images]


def decide(photos: Sequence[Photo], findings: Findings, *, threads: int) -> bool:
    """Whether photos whose sides do not tell are read as they are stored; adds what is to be told.

    Photos whose sides are in no order those of the JSON are told of elsewhere.
    """
    stored = [one for one in photos if one.is_as_stored is True]
    turned = [one for one in photos if one.is_as_stored is False]
    open_ = [one for one in photos if one.is_as_stored is None]
    if stored and turned:
        fewer, order = (stored, "as they are stored") if len(stored) < len(turned) else (turned, "")
        what = (
            f"of {len(stored) + len(turned)} photos that EXIF turns have sides "
            f"{order or 'as they are turned'} in the JSON and the others not; each is read so"
        )
        _add(findings, "doubtful", what, fewer)
    elif stored:
        told = _compare(stored, threads)
        effect: Effect = "told" if told is True else "doubtful"
        fit = {
            True: "their masks fit them so",
            False: "but their masks fit the photos as they are turned, stretched to those sides",
            None: "their masks tell neither way",
        }[told]
        what = f"photos that EXIF turns have the sides of the file in the JSON; {fit}"
        cure = f"{CURE}, or say by data.stretched=true that masks are shares of the turned photos"
        _add(findings, effect, f"{what}: read as they are stored", stored, cure)
    if not open_:
        return False
    by = "as are those whose sides tell"
    effect, answer = "told", False
    if stored or turned:
        answer = len(stored) > len(turned)
        if min(len(stored), len(turned)) * 10 > len(photos) - len(open_):
            effect = "doubtful"
    else:
        fits = _compare(open_, threads)
        answer = fits is True
        by = "as other programs do" if fits is None else "as their masks fit them"
    how = "as they are stored" if answer else "as EXIF turns them"
    what = (
        f"photos that EXIF turns have sides that do not tell whether masks are turned: read {how}"
    )
    _add(findings, effect, f"{what}, {by}", open_)
    return answer


def _add(
    findings: Findings, effect: Effect, what: str, photos: Sequence[Photo], cure: str = CURE
) -> None:
    places = [f"{one.image.path} (EXIF {one.orientation})" for one in photos]
    findings.add_all(effect, what, places, cure=cure if effect == "doubtful" else "")


def _compare(photos: Sequence[Photo], threads: int) -> bool | None:
    """Whether masks fit photos as they are stored, better than turned; None where few tell.

    A mask that fits has other colours than what is around it.
    """
    told = np.array([one for _, here in _look_at_some(photos, threads) for one in here])
    if not len(told):
        return None
    share = float((told > 0).mean())
    clear = len(told) >= ENOUGH and max(share, 1 - share) >= AGREE
    if clear or (share in (0, 1) and np.abs(told).mean() >= CLEAR):
        return share > 0.5
    return None


def _look_at_some(photos: Sequence[Photo], threads: int) -> list[tuple[int, list[float]]]:
    some = [one for one in photos if one.image.instances]
    step = max(1, len(some) // MOST_LOOKED_AT)
    return run(_look_at, some[::step][:MOST_LOOKED_AT], "comparing masks with photos", threads)


def _look_at(photo: Photo) -> tuple[int, list[float]]:
    """The file, by its bytes; of each mask, how much more it stands out as stored, a logarithm."""
    try:
        encoded = image_files.read_file(photo.image.path)
        pixels, _ = image_files.decode(encoded, as_stored=True)
    except InputError:
        return 0, []
    scale = min(1.0, SIDE / max(pixels.shape[:2]))
    pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    turned = np.ascontiguousarray(image_values.turn(pixels, photo.orientation))
    sides = photo.image.height, photo.image.width
    told = []
    for instance in photo.image.instances[:MOST_MASKS]:
        mask = coco_mask.decode({"size": list(sides), "counts": instance.rle})
        one, other = _stands_out(pixels, mask), _stands_out(turned, mask)
        if one is not None and other is not None:
            told.append(math.log((one + FAINT) / (other + FAINT)))
    return hash(encoded), told


def _stands_out(pixels: np.ndarray, mask: np.ndarray) -> float | None:
    """How far colours within a mask are from those around it; None where it has no pixel."""
    height, width = pixels.shape[:2]
    mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
    ring = cv2.dilate(mask, np.ones((2 * RING + 1, 2 * RING + 1), np.uint8)) - mask
    within, around = pixels[mask > 0].astype(np.float32), pixels[ring > 0].astype(np.float32)
    if len(within) < 4 or len(around) < 4:
        return None
    spread = within.std(0) + around.std(0) + 1
    return float((np.abs(within.mean(0) - around.mean(0)) / spread).mean())
