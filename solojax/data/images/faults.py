"""What is wrong with the bytes of a file that is no sound image, in words."""

import codecs

from solojax.data.images.chunks import Header

HEIC_CURE = "pip install pillow-heif, or save it as JPEG or PNG"
TIFF_CURE = "copy it again or save it as PNG"
COPY, DOWNLOAD, UNPACK, PULL = (
    *("copy it again", "download the file itself", "unpack it", "run git lfs pull"),
)
ANY_FILE = (DOWNLOAD, UNPACK, PULL)  # cures that hold whatever the file should be
# Pictures by their endings that are not decoded: what they are, the cure.
UNREAD = {
    **dict.fromkeys(
        (".heic", ".heif", ".hif"), ("HEIC photos", "pip install pillow-heif reads them")
    ),
    **dict.fromkeys(
        (".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"),
        ("a camera's raw photos", "develop them to JPEG or TIFF"),
    ),
    **dict.fromkeys(
        (".czi", ".lif", ".mrxs", ".nd2", ".ndpi", ".oib", ".svs", ".vsi", ".zarr"),
        ("a microscope's own files", "export them as TIFF"),
    ),
    **dict.fromkeys((".dcm", ".nii", ".nrrd"), ("medical volumes", "export their slices as PNG")),
    **dict.fromkeys(
        (".exr", ".hdr", ".ico", ".j2k", ".jpx", ".jxl", ".npy", ".pcx", ".psd", ".svg", ".tga"),
        ("pictures of a kind that is not read", "save them as PNG"),
    ),
}
# What files that are no images begin with: their bytes from that place on, what they are, the cure.
STRANGERS = (
    (0, b"\xff\xd8\xff", "the start of a JPEG image", COPY),
    (0, b"\x89png", "the start of a PNG image", COPY),
    (0, b"gif8", "the start of a GIF image", COPY),
    (8, b"webp", "the start of a WebP image", COPY),
    (0, b"\0\0\0\x0cjp  ", "the start of a JPEG 2000 image", COPY),
    (0, b"<!doctype html", "a web page (HTML)", DOWNLOAD),
    (0, b"<html", "a web page (HTML)", DOWNLOAD),
    (0, b"<", "XML, such as SVG", "save it as PNG"),
    (0, b"version https://git-lfs", "a pointer of Git LFS", PULL),
    (0, b"%pdf", "a PDF", "save its page as PNG"),
    (0, b"pk\x03\x04", "a ZIP archive", UNPACK),
    (0, b"\x1f\x8b", "a gzip archive", UNPACK),
    (0, b"bzh", "a bzip2 archive", UNPACK),
    (0, b"\xfd7zxz\0", "an xz archive", UNPACK),
    (0, b"(\xb5/\xfd", "a Zstandard archive", UNPACK),
    (0, b"7z\xbc\xaf", "a 7z archive", UNPACK),
    (0, b"rar!", "a RAR archive", UNPACK),
    (0, b"\x1ae\xdf\xa3", "a video (Matroska)", "name it .mkv"),
    (4, b"ftyphe", "a HEIC photo", HEIC_CURE),
    (4, b"ftypmif1", "a HEIC photo", HEIC_CURE),
    (4, b"ftypmsf1", "a HEIC photo", HEIC_CURE),
    (4, b"ftypavi", "an AVIF image that is damaged or not read here", "save it as PNG"),
    (4, b"ftypcrx", "a camera's raw photo", "develop it to JPEG or TIFF"),
    (4, b"ftypqt", "a video (QuickTime)", "name it .mov"),
    (4, b"ftyp", "a video (MP4)", "name it .mp4"),
    (8, b"avi ", "a video (AVI)", "name it .avi"),
    (8, b"wave", "a sound (WAV)", "give the image"),
    (8, b"cr\2\0", "a camera's raw photo", "develop it to JPEG or TIFF"),
    (0, b"8bps", "a Photoshop picture", "save it as PNG"),
    (0, b"dicm", "a DICOM file", "export its slices as PNG"),
    (128, b"dicm", "a DICOM file", "export its slices as PNG"),
    (0, b"\x93numpy", "a NumPy array", "save it as PNG"),
    (0, b"\x89hdf", "an HDF5 file", "save its pictures as PNG"),
    (0, b"ii*\0", "a TIFF that was cut, or of a kind that is not read", TIFF_CURE),
    (0, b"mm\0*", "a TIFF that was cut, or of a kind that is not read", TIFF_CURE),
)
MARKED = max(place + len(signature) for place, signature, *_ in STRANGERS)


def recognize(encoded: bytes) -> tuple[str, str] | None:
    """What a file seems to be that is neither a sound image nor text, and what to do."""
    start = encoded.removeprefix(codecs.BOM_UTF8).lstrip()[:MARKED].lower()
    for place, signature, what, cure in STRANGERS:
        if start[place:].startswith(signature):
            return what, cure
    if encoded and not encoded.strip(b"\0"):
        return "nothing but zeros, as of a copy that broke off", COPY
    return None


def describe_stranger(encoded: bytes, cure: str) -> str:
    """What a file seems to be that should be no image, and what to do; empty if that is not known.

    The cure given is for what no other helps.
    """
    stranger = recognize(encoded)
    if not stranger or encoded.lstrip()[:1] in (b"{", b"["):
        return ""
    return f"it seems to be {stranger[0]}; {stranger[1] if stranger[1] in ANY_FILE else cure}"


def describe(encoded: bytes) -> str:
    """What a file seems to be that has no header of an image, and what to do."""
    if not encoded:
        return "is empty; copy it again"
    if stranger := recognize(encoded):
        return f"is no image: it seems to be {stranger[0]}; {stranger[1]}"
    if encoded[:1] == b"P" and encoded[1:2] in b"123456" and encoded[2:3].isspace():
        return f"is a PNM image of no pixels, or whose numbers make no sense; {COPY}"
    if not encoded[:1024].translate(None, bytes(range(32, 127)) + b"\t\n\r"):
        return "is no image: it seems to be text; read what it says, and copy the image again"
    if encoded[:2] == b"BM":
        return f"is a BMP image that was cut, or of a kind that is not read; {TIFF_CURE}"
    begin = encoded[:8].hex(" ")
    return (
        f"is no image: no kind of file known here begins with {begin}; copy it again or save it "
        "as PNG"
    )


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
