"""A list of the checksums of a set's images, as ``sha256sum`` writes and checks it."""

import re
from collections.abc import Mapping

from etils.epath import Path

from solojax.data.findings import Findings
from solojax.types import InputError

NAME = "checksums.sha256"  # beside the data: sha256sum --check there says the same
SIGNS = {"\\": "\\", "n": "\n", "r": "\r"}  # what stands for them behind a backslash
LENGTH = 64  # hexadecimal digits of SHA-256


def compare(path: Path, now: Mapping[str, str], findings: Findings) -> None:
    """Compares images with the list at ``path``, and writes into it those that it lacks.

    A file that changed stays as it is in the list, so that it is told again until it is mended.

    Args:
      path: of the list, which need not be there.
      now: name -> checksum of each image as it is, names as they are to stand in the list.
      findings: what was found.

    Raises:
      InputError: the list is none, or cannot be read or written.
    """
    before = _read(path)
    changed = [name for name, digest in now.items() if before.get(name, digest) != digest]
    what = f"images have other bytes than when {path.name} was written"
    cure = "restore them; if the change is meant, delete their lines there"
    findings.add_all("doubtful", what, changed, cure=cure)
    new = {name: digest for name, digest in now.items() if name not in before}
    if new:
        lines = [_line(name, digest) for name, digest in (before | new).items()]
        try:
            path.write_bytes("".join(lines).encode(errors="surrogateescape"))
        except OSError as error:
            raise InputError(
                f"{path} cannot be written: {error.strerror}; give --checksums FILE"
            ) from error
        findings.add(
            "told",
            f"images are new in {path}, to be compared by the next check with --hash",
            count=len(new),
        )


def _line(name: str, digest: str) -> str:
    """As sha256sum writes it, which marks names that would break the line."""
    escaped = name
    for letter, sign in SIGNS.items():
        escaped = escaped.replace(sign, f"\\{letter}")
    return f"{'' if escaped == name else chr(92)}{digest}  {escaped}\n"


def _read(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        lines = path.read_bytes().decode(errors="surrogateescape").split("\n")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read; delete it or give --checksums FILE") from error
    listed = {}
    for number, line in enumerate(lines[:-1] if not lines[-1] else lines, 1):
        digest, _, name = line.removesuffix("\r").partition("  ")
        if digest.startswith("\\"):
            digest, name = (
                digest[1:],
                re.sub(r"\\(.)", lambda sign: SIGNS.get(sign[1], sign[0]), name),
            )
        if len(digest) != LENGTH or not name:
            raise InputError(
                f"{path}: line {number} is no checksum and name; correct it, delete the file or "
                "give --checksums FILE"
            )
        listed[name] = digest
    return listed
