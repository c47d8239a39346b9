"""Points outside of their images and boxes beside their masks, and what would put them right."""

import numpy as np

from solojax.data.annotations.survey import Rows
from solojax.data.findings import Effect, Findings

SLACK = 2.0  # pixels, and this share of a side:
SIDE_SLACK = 0.02  # by which points may lie outside of an image; annotators' hands do
MOST_OUTSIDE = 0.05  # of all instances
MOST_BESIDE = 0.05  # of all instances with a box
FITS = 0.5  # IoU of a stated box and its mask's, below which they do not belong together
PUT_RIGHT = 0.9  # of what is wrong, which one explanation has to fit
ENOUGH, SEEN = 5, 100  # masks, and pixels of each, by whose shapes all are judged
BY_ROWS = "run lengths counted by rows; COCO counts them column by column (mask.ravel(order='F'))"
UNLIKELY = -6.0  # log10 of the chance that all objects lie in one part of their images by accident


def look(rows: Rows, findings: Findings) -> bool:
    """Adds what is wrong; returns whether the points, and so all masks, are likely to be so."""
    boxed, beside = _compare_boxes(rows)
    if len(boxed.ids) and beside.mean() >= PUT_RIGHT and _count_from_boxes(boxed):
        _look_at_boxes(boxed, beside, findings)  # else their points would be called too small
        return True
    if _look_at_points(rows, findings) or _look_at_rows(rows, findings):
        return True
    _look_at_boxes(boxed, beside, findings)
    return False


def _look_at_points(rows: Rows, findings: Findings) -> bool:
    known = np.isfinite(rows.extents).all(1)
    rows = rows.take(known)
    count = len(rows.ids)
    if not count:
        return False
    low, high, frames = rows.extents[:, :2], rows.extents[:, 2:], rows.frames
    unit = np.logical_and.reduce((low > -0.01) & (high < 1.01) & (frames > 8), axis=1)
    if unit.sum() >= MOST_OUTSIDE * count:
        what = f"of {count} instances have points in 0..1, which are read as pixels"
        cure = "multiply x by the width of the image and y by its height"
        rows.add(findings, "doubtful", what, unit, cure)
        return True
    percent = (low > -0.1).all() and (high < 100.1).all()
    inside = _fit(low, high, frames)
    if not inside.all():
        likely_wrong = (~inside).sum() >= MOST_OUTSIDE * count
        effect: Effect = "doubtful" if likely_wrong else "told"
        what = f"of {count} instances have points outside of their image"
        cure = _explain(rows, ~inside, percent=bool(percent)) if likely_wrong else ""
        rows.add(findings, effect, what, ~inside, cure)
        return likely_wrong
    if percent and (high > 50).any():
        chance = np.log10(np.minimum(1, 101 / frames)).sum()
        if count >= 5 and (frames.min(1) > 150).all() and chance < UNLIKELY:
            what = "instances, all there are, have points in 0..100, which are read as pixels"
            cure = "if they are percent, multiply x by a hundredth of the width, y of the height"
            rows.add(findings, "doubtful", what, np.ones(count, bool), cure)
            return True
    across, down = (high / frames).max(0)
    if max(across, down) < 0.8 and abs(across - down) < 0.03 * down:
        if count >= 30 and count * np.log10(across * down) < UNLIKELY:
            what = (
                f"instances, all there are, lie in the upper left {across:.2f} of the width and "
                f"{down:.2f} of the height"
            )
            cure = f"if the images were enlarged, multiply all points by {1 / across:.2f}"
            rows.add(findings, "doubtful", what, np.ones(count, bool), cure)
            return True
    return False


def _explain(rows: Rows, outside: np.ndarray, *, percent: bool) -> str:
    low, high, frames = rows.extents[:, :2], rows.extents[:, 2:], rows.frames
    if _fit(low[:, ::-1], high[:, ::-1], frames).mean() >= PUT_RIGHT:
        return (
            "all fit with x and y exchanged, or in the image turned by 90 degrees; write x before "
            "y, and mark the image as its EXIF orientation shows it"
        )
    upright = np.stack([low[:, 0], -high[:, 1]], 1), np.stack([high[:, 0], -low[:, 1]], 1)
    if _fit(*upright, frames).mean() >= PUT_RIGHT:
        return "all fit with y negated; count y from the top of the image downwards"
    across, down = (high / frames).max(0)
    if percent and max(across, down) > 1:
        return (
            "all lie in 0..100; if they are percent, multiply by a hundredth of the image's sides"
        )
    size = f"reach to {across:.3g} times the width and {down:.3g} times the height"
    if (low >= -SLACK).all() and abs(across - down) < 0.15 * down and outside.mean() > 0.2:
        return (
            f"they {size}, as points of images of that size; give those images, or write their "
            "sides into the JSON, and data.faults=repair scales the masks"
        )
    return f"they {size}; see that each names its image, and that the image was not changed since"


def _fit(low: np.ndarray, high: np.ndarray, frames: np.ndarray) -> np.ndarray:
    slack = np.maximum(SLACK, SIDE_SLACK * frames)
    inside: np.ndarray = np.logical_and.reduce((low >= -slack) & (high <= frames + slack), axis=1)
    return inside


def _compare_boxes(rows: Rows) -> tuple[Rows, np.ndarray]:
    """The ``n`` annotations with a box and a mask, and whether they lie beside each other."""
    x, y, width, height = rows.stated.T
    with np.errstate(invalid="ignore"):
        known = np.isfinite(rows.stated + rows.extents).all(1) & (width > 0) & (height > 0)
        known &= rows.pixels > 0
    rows = rows.take(known)
    return rows, _iou(rows.stated, rows.extents, "x y w h", rows.frames) < FITS


def _look_at_boxes(rows: Rows, beside: np.ndarray, findings: Findings) -> None:
    if not beside.any():
        return
    likely_wrong = beside.sum() >= MOST_BESIDE * len(beside)
    what = f"of {len(beside)} boxes overlap their mask's by less than {FITS}"
    if not likely_wrong:
        rows.add(findings, "told", what, beside)
        return
    what = f"of {len(beside)} boxes do not fit their masks"
    rows.add(findings, "doubtful", what, beside, _explain_boxes(rows.take(beside), len(beside)))


def _explain_boxes(wrong: Rows, count: int) -> str:
    """What would put right those of ``count`` boxes that do not fit."""
    if _count_from_boxes(wrong):
        return "they fit once masks are moved by their boxes' corners: add x and y to all points"
    read = wrong.take(np.isfinite(wrong.by_rows[:, 0]))
    by_rows = ""
    if len(read.ids) and _fits(read.stated, read.by_rows, "x y w h", read.frames):
        by_rows = f"masks fit their boxes with {BY_ROWS}"
        if (read.frames[:, 0] != read.frames[:, 1]).any():
            return by_rows
    for form, meaning in FORMS.items():
        if _fits(wrong.stated, wrong.extents, form, wrong.frames):
            cure = f"they fit {meaning}; COCO's bbox is x, y, width, height in pixels"
            return f"{cure}; or {by_rows}" if by_rows else cure
    if len(wrong.ids) >= PUT_RIGHT * count:
        return "boxes or masks are wrong, in all of the set: see with data show which, and mend it"
    return "write the box around the mask, or leave bbox out: it is then made from the mask"


def _count_from_boxes(rows: Rows) -> bool:
    return _fits(rows.stated, rows.extents, "crop", rows.frames)


def _fits(stated: np.ndarray, boxes: np.ndarray, form: str, frames: np.ndarray) -> bool:
    return bool((_iou(stated, boxes, form, frames) >= 0.7).mean() >= PUT_RIGHT)


def _look_at_rows(rows: Rows, findings: Findings) -> bool:
    """Adds that masks are in stripes which are whole by rows."""
    read = rows.take(np.isfinite(rows.by_rows[:, 0]) & (rows.pixels >= SEEN))
    likely_wrong = len(read.ids) >= ENOUGH and read.striped.mean() >= PUT_RIGHT
    if likely_wrong:
        what = f"of {len(read.ids)} masks that were looked at are in stripes"
        read.add(findings, "doubtful", what, read.striped, f"they are whole with {BY_ROWS}")
    return bool(likely_wrong)


FORMS = {
    "x0 y0 x1 y1": "as corners x0 y0 x1 y1",
    "y x h w": "with x and y exchanged",
    "y0 x0 y1 x1": "as corners y0 x0 y1 x1",
    "cx cy w h": "as a centre, width and height",
    "relative": "as parts of the image's sides in 0..1",
    "relative cx cy w h": "as a centre, width and height in parts of the image's sides",
    "percent": "as percent of the image's sides",
    "upward": "with y counted from the bottom of the image",
    "scaled": "with another scale than the points",
}


def _iou(stated: np.ndarray, boxes: np.ndarray, form: str, frames: np.ndarray) -> np.ndarray:
    """The overlap with boxes x0 y0 x1 y1 of ones that are stated in a form, ``n``."""
    first, second = stated[:, :2], stated[:, 2:]
    match form:
        case "x0 y0 x1 y1":
            low, high = first, second
        case "y x h w":
            low, high = first[:, ::-1], (first + second)[:, ::-1]
        case "y0 x0 y1 x1":
            low, high = first[:, ::-1], second[:, ::-1]
        case "cx cy w h":
            low, high = first - second / 2, first + second / 2
        case "relative":
            low, high = first * frames, (first + second) * frames
        case "relative cx cy w h":
            low, high = (first - second / 2) * frames, (first + second / 2) * frames
        case "percent":
            low, high = first * frames / 100, (first + second) * frames / 100
        case "upward":
            low, high = first.copy(), first + second
            low[:, 1], high[:, 1] = frames[:, 1] - high[:, 1], frames[:, 1] - low[:, 1]
        case "crop":
            low, high = np.zeros_like(second), second
        case "scaled":
            scale = np.median((boxes[:, :2] + boxes[:, 2:]) / np.maximum(2 * first + second, 1e-9))
            low, high = first * scale, (first + second) * scale
        case _:
            low, high = first, first + second
    # A pixel on each side: of what has a few pixels, the box is not known better than that.
    low, high = low - 1, high + 1
    other_low, other_high = boxes[:, :2] - 1, boxes[:, 2:] + 1
    shared = np.clip(np.minimum(high, other_high) - np.maximum(low, other_low), 0, None).prod(1)
    areas = np.clip(high - low, 0, None).prod(1) + (other_high - other_low).prod(1)
    iou: np.ndarray = shared / np.maximum(areas - shared, 1e-9)
    return iou
