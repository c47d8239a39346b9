"""Claims about files that are there whole or not at all."""

import os
from pathlib import Path

import pytest

from solojax import writing
from solojax.types import InputError
from tests import disk


def test_a_file_is_there_whole_in_a_folder_that_is_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "scores.json"
    for content in (b"first", b"second"):
        writing.put(path, content)
        assert [file.read_bytes() for file in path.parent.iterdir()] == [content]


def test_what_was_there_stays_where_a_disk_is_full(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    writing.put(path, b"before")
    with disk.full(10), pytest.raises(InputError, match="scores.json cannot be written: .*; see"):
        writing.put(path, bytes(1000))
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"before"]


def test_what_cannot_be_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written: "):
        writing.put(tmp_path / "file" / "scores.json", b"")


def test_a_pipe_stays_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe cannot be written: it is no file"):
        writing.put(tmp_path / "pipe", b"")
    assert [file.is_fifo() for file in tmp_path.iterdir()] == [True]


@pytest.mark.parametrize("name", ["n" * 255, "ñ" * 127 + "n", "字" * 85])
def test_a_name_may_be_as_long_as_a_file_system_takes(tmp_path: Path, name: str) -> None:
    writing.put(tmp_path / name, b"content")
    assert [file.name for file in tmp_path.iterdir()] == [name]
