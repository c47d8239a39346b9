"""Pictures that stand in their addresses, so that a page needs no more than one answer."""

import base64

import cv2
import numpy as np

from solojax.inference.look import shown_size

QUALITY = 95  # of JPEG: masks are drawn on it


def address_of(image: np.ndarray, most_side: int) -> str:
    """``H W 3`` uint8 RGB as a ``data:`` address, made smaller where a side is longer than that."""
    height, width = shown_size((image.shape[0], image.shape[1]), most_side)
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}"
