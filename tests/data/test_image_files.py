"""Claims about image files: which are taken, and that what is taken is decoded."""

import io

import numpy as np
import pytest
from PIL import Image

from solojax.data import image_files

FORMS = {  # by which Pillow writes a file of an ending
    **dict.fromkeys(image_files.JPEG_ENDINGS, "JPEG"),
    **dict.fromkeys(image_files.PNM_ENDINGS, "PPM"),
    ".apng": "PNG",
    ".avif": "AVIF",
    ".bmp": "BMP",
    ".dib": "BMP",
    ".gif": "GIF",
    ".jp2": "JPEG2000",
    ".mpo": "MPO",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}


def encode(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


@pytest.mark.parametrize("ending", image_files.IMAGE_ENDINGS)
def test_what_is_taken_for_an_image_is_decoded(ending: str) -> None:
    if ending in image_files.HEIC_ENDINGS:
        pytest.skip("written by no one here")
    encoded = encode(Image.new("RGB", (40, 32), (200, 100, 50)), FORMS[ending])
    image = image_files.decode_image(encoded)
    assert image is not None and image.shape == (32, 40, 3)
    assert np.abs(image.astype(int) - (200, 100, 50)).max() < 8
    assert image_files.why_left_out(f"a{ending.upper()}") is None


def test_what_is_left_out_is_told_with_what_it_is_and_the_cure() -> None:
    assert image_files.why_left_out("a/b.CR2") == (
        "a camera's raw photos (.cr2)",
        "develop them to JPEG or TIFF",
    )
    assert image_files.why_left_out("notes.txt") == ("no images by their ending (.txt)", "")
    assert image_files.why_left_out("notes") == ("no images by their ending (none)", "")
    assert image_files.why_left_out(".DS_Store") is None
    if not image_files.HEIC_ENDINGS:
        what = ("HEIC photos (.heic)", "pip install pillow-heif reads them")
        assert image_files.why_left_out("x/IMG_1.HEIC") == what
