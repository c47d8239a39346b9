"""Which files are images, or videos, by their endings: all that is decoded here, in lower case."""

import importlib.util

JPEG_ENDINGS = (".jfif", ".jpe", ".jpeg", ".jpg", ".mpo")
PNM_ENDINGS = (".pbm", ".pgm", ".pnm", ".ppm")
HEIC_ENDINGS = (".heic", ".heif", ".hif") if importlib.util.find_spec("pillow_heif") else ()
IMAGE_ENDINGS = (
    *JPEG_ENDINGS,
    *PNM_ENDINGS,
    *HEIC_ENDINGS,
    *(".apng", ".avif", ".bmp", ".dib", ".gif", ".jp2", ".png", ".tif", ".tiff", ".webp"),
)
VIDEO_ENDINGS = (
    *(".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"),
)
