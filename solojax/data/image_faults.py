"""What is wrong with the bytes of a file that is no sound image, in words."""

from solojax.data.image_chunks import Header

HEIC_CURE = "pip install pillow-heif, or save it as JPEG or PNG"
TIFF_CURE = "copy it again or save it as PNG"
# What files that are no images begin with: their bytes from that place on, what they are, the cure.
STRANGERS = (
    (0, b"\xff\xd8\xff", "the start of a JPEG image", "copy it again"),
    (0, b"\x89png", "the start of a PNG image", "copy it again"),
    (0, b"gif8", "the start of a GIF image", "copy it again"),
    (8, b"webp", "the start of a WebP image", "copy it again"),
    (0, b"\0\0\0\x0cjp  ", "the start of a JPEG 2000 image", "copy it again"),
    (0, b"<!doctype html", "a web page (HTML)", "download the image itself"),
    (0, b"<html", "a web page (HTML)", "download the image itself"),
    (0, b"<", "XML, such as SVG", "save it as PNG"),
    (0, b"version https://git-lfs", "a pointer of Git LFS", "run git lfs pull"),
    (0, b"%pdf", "a PDF", "save its page as PNG"),
    (0, b"pk\x03\x04", "a ZIP archive", "unpack it"),
    (0, b"\x1f\x8b", "a gzip archive", "unpack it"),
    (0, b"\x1ae\xdf\xa3", "a video (Matroska)", "name it .mkv"),
    (4, b"ftyphe", "a HEIC photo", HEIC_CURE),
    (4, b"ftypm", "a HEIC photo", HEIC_CURE),
    (4, b"ftypavi", "an AVIF image that is damaged or not read here", "save it as PNG"),
    (4, b"ftyp", "a video (MP4)", "name it .mp4"),
    (8, b"avi ", "a video (AVI)", "name it .avi"),
    (0, b"ii*\0", "a TIFF that was cut, or of a kind that is not read", TIFF_CURE),
    (0, b"mm\0*", "a TIFF that was cut, or of a kind that is not read", TIFF_CURE),
)


def describe(encoded: bytes) -> str:
    """What a file seems to be that has no header of an image, and what to do."""
    if not encoded:
        return "is empty; copy it again"
    start = encoded.lstrip()[:64].lower()
    for place, signature, what, cure in STRANGERS:
        if start[place:].startswith(signature):
            return f"is no image: it seems to be {what}; {cure}"
    if not encoded[:1024].translate(None, bytes(range(32, 127)) + b"\t\n\r"):
        return "is no image: it seems to be text"
    return f"is no image: no kind of file known here begins with {encoded[:8].hex(' ')}"


def describe_header(header: Header) -> str:
    """What an image is."""
    return f"a {header.form} image of {header.width}x{header.height} pixels ({header.mode})"


def describe_damaged(header: Header) -> str:
    """What an image is that could not be decoded, and what to do."""
    if not header.is_whole:
        return f"is {describe_header(header)} that was cut: its end is missing; copy it again"
    return (
        f"is {describe_header(header)}, cut, damaged or of a kind that is not read; copy it again "
        "or save it as PNG"
    )
