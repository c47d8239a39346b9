"""Texts of a set: JSON, YAML and lines; what cannot be parsed is named for what it is."""

import codecs
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from solojax.data.images import faults as image_faults
from solojax.data.images import files as image_files
from solojax.types import InputError


def lines_of(path: Path) -> list[str]:
    """The lines of a text file; none where there is no file."""
    if not path.is_file():
        return []
    content = path.read_bytes()
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if wide else "utf-8-sig", "replace").splitlines()


def load(path: Path, parse: Callable[[bytes], Any]) -> dict[str, Any]:
    """What ``parse`` makes of a file, where that is an object; else an empty one.

    Raises:
      InputError: there is no such file, or it cannot be parsed.
    """
    content = _load(path, parse)
    return content if isinstance(content, dict) else {}


def load_list(path: Path, parse: Callable[[bytes], Any]) -> list[Any]:
    """What ``parse`` makes of a file: its elements where that is a list, else itself."""
    content = _load(path, parse)
    return content if isinstance(content, list) else [content]


def _load(path: Path, parse: Callable[[bytes], Any]) -> Any:
    if not os.path.lexists(path):
        raise InputError(f"{path}: no such file; give it or the folder that holds it")
    encoded = image_files.read_file(path)
    told = image_faults.describe_stranger(encoded, "move it away")
    try:
        content = parse(encoded)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        if isinstance(error, UnicodeDecodeError) and not told:
            raise InputError(
                f"{path} is not UTF-8 (byte {error.object[error.start]:#x} at {error.start}); save "
                "it as UTF-8, as in iconv -f GBK -t UTF-8"
            ) from error
        told = told or f"{' '.join(str(error).split())}; correct it or move it away"
        raise InputError(f"{path} cannot be parsed: {told}") from error
    if told and not isinstance(content, dict | list):  # YAML takes a page for a text
        raise InputError(f"{path} cannot be parsed: {told}")
    return content


class _Plain(yaml.SafeLoader):
    """Reads YAML without aliases, by which a page of text means more than any memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            alias = self.peek_event()
            line = alias.start_mark.line + 1
            raise yaml.YAMLError(
                f"line {line}: write out what the alias *{alias.anchor} stands for"
            )
        return super().compose_node(parent, index)


def parse_yaml(content: bytes) -> Any:
    """What YAML says in plain values, but for the texts below ``names``: no, 1.0 and null are such.

    For ``load``.
    """
    loader = _Plain(content)
    try:
        root = loader.get_single_node()
        for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
            if key.value == "names":
                _take_as_text(value)
        return loader.construct_document(root) if root else None
    finally:
        loader.dispose()


def _take_as_text(node: yaml.Node) -> None:
    if isinstance(node, yaml.ScalarNode):
        node.tag = "tag:yaml.org,2002:str"
    elif isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            _take_as_text(value)
    else:
        for value in node.value:
            _take_as_text(value)
