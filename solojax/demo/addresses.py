"""Pictures that stand in their addresses, so that a page needs no more than one answer."""

import base64

import cv2
import numpy as np

QUALITY = 95  # of JPEG: masks are drawn on it


def address_of(image: np.ndarray, most_side: int) -> str:
    """``H W 3`` uint8 RGB as a ``data:`` address, made smaller where a side is longer than that."""
    scale = most_side / max(image.shape[:2])
    if scale < 1:
        size = max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1)
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}"
