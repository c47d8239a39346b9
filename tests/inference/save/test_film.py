"""Claims about films: they play, and show each picture at its time."""

from pathlib import Path

import av
import numpy as np
import pytest

from solojax.inference.save import film
from solojax.inference.save.film import Film
from solojax.types import InputError
from tests import disk
from tests.inference.save.scene import decode, names_in

TIMES = [0.0, 0.033, 0.1, 0.11, 0.5, 0.51, 1.2]


@pytest.mark.parametrize("size", [(64, 96), (63, 95)])
def test_a_film_has_the_frames_the_size_and_the_times(
    size: tuple[int, int], tmp_path: Path
) -> None:
    made = Film(tmp_path / "film.mp4")
    for number, seconds in enumerate(TIMES):
        picture = np.zeros((*size, 3), np.uint8)
        picture[:, :48] = (250 - 20 * number, 30, 0)
        made.add(picture, seconds)
    assert not (tmp_path / "film.mp4").exists()
    made.close()
    assert names_in(tmp_path) == {"film.mp4"}
    frames = decode(tmp_path / "film.mp4")
    assert [time for time, _ in frames] == pytest.approx(TIMES, abs=1 / film.CLOCK)
    for number, (_, picture) in enumerate(frames):
        assert picture.shape == (64, 96, 3)
        assert np.abs(picture[20, 20].astype(int) - (250 - 20 * number, 30, 0)).max() < 6
        assert picture[-1, -1].max() < 6


def test_a_film_is_laid_out_for_browsers(tmp_path: Path) -> None:
    made = Film(tmp_path / "film.mp4")
    made.add(np.zeros((64, 96, 3), np.uint8), 0.0)
    made.close()
    encoded = (tmp_path / "film.mp4").read_bytes()
    assert encoded.index(b"moov") < encoded.index(b"mdat")  # plays while it loads


def test_a_film_goes_on_where_time_does_not_and_where_sizes_change(tmp_path: Path) -> None:
    made = Film(tmp_path / "film.mp4")
    for seconds, width in [(0.0, 96), (1.0, 96), (1.0, 48), (0.5, 200)]:
        made.add(np.full((64, width, 3), 200, np.uint8), seconds)
    made.close()
    frames = decode(tmp_path / "film.mp4")
    assert [picture.shape for _, picture in frames] == [(64, 96, 3)] * 4
    assert [time for time, _ in frames] == pytest.approx([0, 1, 1, 1], abs=1e-3)


def test_a_film_without_a_frame_leaves_no_file(tmp_path: Path) -> None:
    Film(tmp_path / "film.mp4").close()
    assert names_in(tmp_path) == set()


def test_a_pyav_without_an_encoder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise av.codec.codec.UnknownCodecError("libx264")

    class Container:
        add_stream = staticmethod(refuse)

    monkeypatch.setattr(av, "open", lambda *_, **__: Container())
    with pytest.raises(InputError, match="no encoder for H.264; reinstall it with pip install"):
        Film(tmp_path / "film.mp4").add(np.zeros((64, 96, 3), np.uint8), 0.0)


def test_a_full_disk_is_told_by_the_name_of_the_film(tmp_path: Path) -> None:
    made = Film(tmp_path / "film.mp4")
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    with disk.full(1000), pytest.raises(InputError, match="/film.mp4 cannot be written.*see that"):
        try:
            for number in range(5):
                made.add(noise, float(number))
        finally:
            made.close()
    assert not list(tmp_path.iterdir())
