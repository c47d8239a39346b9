"""One page of a TIFF, or one frame of an animation, as a file of its own."""

import io

from PIL import Image

from solojax.data.images import files as image_files
from solojax.data.images import headers as image_headers
from solojax.types import InputError


def take(encoded: bytes, number: int, most_pixels: int | None = None) -> bytes:
    """A file whose first page is the page ``number`` of an image file.

    Args:
      encoded: the image file; one that is not read is given back, for ``decode`` to tell what it
        is.
      number: of the page, from 1 on. Smaller versions of other pages are none.
      most_pixels: as of ``image_files.decode``.

    Raises:
      InputError: there is no such page, or it is damaged; the line begins with a verb.
    """
    header = image_headers.read(encoded)
    if header is None or number == 1:
        return encoded
    image_files.check_size(header, most_pixels)
    if number > header.pages:
        count = "one page" if header.pages == 1 else f"{header.pages} pages"
        raise InputError(f"has {count} and no page {number}; give another --page")
    if header.form == "TIFF":
        # Its first bytes say where the first page lies.
        place = image_headers.tiff_pages(encoded)[number - 1]
        start = 8 if encoded[2:4] in image_headers.BIG_TIFF else 4
        moved = place.to_bytes(start, "little" if encoded[:2] == b"II" else "big")
        return encoded[:start] + moved + encoded[2 * start :]
    try:
        with Image.open(io.BytesIO(encoded), formats=[header.form]) as image:
            image.seek(number - 1)
            stream = io.BytesIO()
            image.convert("RGB").save(stream, "PNG", exif=image.getexif(), compress_level=1)
    except Exception as error:  # whatever a damaged frame brings about
        raise InputError(f"has a page {number} that is damaged; save it as PNG") from error
    return stream.getvalue()
