"""Claims about the page of the demo, clicked through in a real Chromium; skipped where none is."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from tests.demo import chromium
from tests.demo.served import blobs, png, predictor, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (chromium.CHROMIUM and chromium.DRIVER), reason="no chromium and chromedriver here"
    ),
]
RESULT = "!document.body.classList.contains('busy') && document.querySelectorAll('#list li').length"
DROP = """
const bytes = Uint8Array.from(arguments[0]), transfer = new DataTransfer();
transfer.items.add(new File([bytes], arguments[1]));
document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true}));
"""
PIXELS = """
const canvas = document.getElementById("canvas"), at = canvas.getContext("2d");
const data = at.getImageData(0, 0, canvas.width, canvas.height).data;
return Array.from(data).filter((_, i) => i % 97 == 0);
"""
INSIDE = """
const owned = [...owner.keys()].filter(i => owner[i] === shown()[0]);
const i = owned[owned.length >> 1], w = canvas.width, box = canvas.getBoundingClientRect();
const x = i % w / w - .5, y = Math.floor(i / w) / canvas.height - .5;
return [x * box.width, y * box.height];
"""
UNNAMED = """
return [...document.querySelectorAll("button, input:not([tabindex='-1'])")].filter(one =>
  !(one.innerText || one.ariaLabel || [...(one.labels ?? [])].some(label => label.innerText))
).map(one => one.outerHTML);
"""


@pytest.fixture(scope="module")
def found_by():
    return predictor()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def page(found_by, folder):
    with serving(found_by) as server, chromium.opened(server.url, folder) as browser:
        browser.wait("document.querySelectorAll('#samples button').length === 6")
        yield browser


@pytest.fixture
def dropped(page):
    """The page with an image dropped on it, all sliders where the run has them."""
    page.hover("h1")  # where another test left it, the mouse would light what lies there
    page.run("document.activeElement.blur(); if (about) resetSliders();")
    page.run(DROP, list(png(blobs())), "discs.png")
    page.wait(f"document.getElementById('name').innerText === 'discs.png' && {RESULT}")
    page.wait("!waiting && document.querySelector('.area').innerText")
    return page


def saved(folder: Path, name: str) -> bytes:
    """A download, once it is whole."""
    path, end = folder / "downloads" / name, time.monotonic() + chromium.PATIENCE
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.02)
    return path.read_bytes()


def test_an_image_that_is_dropped_shows_its_instances(dropped, found_by):
    result = found_by(blobs()).above()
    lines = dropped.text("#list").replace("\n", " ")
    for name, score in zip(result.names, result.scores, strict=True):
        assert name in lines and f"{score:.2f}".removeprefix("0") in lines
    assert len(result) == 2
    assert dropped.text("#status") == f"2 of {len(found_by.look(blobs()).scores)} shown"
    assert dropped.complaints() == []


def test_sliders_act_at_once_and_ask_nobody(dropped):
    count, before = dropped.text("#status"), dropped.run(PIXELS)
    dropped.run("performance.clearResourceTimings()")
    dropped.run("document.getElementById('score').focus()")
    dropped.press("End")
    dropped.wait("document.getElementById('status').innerText.startsWith('0 of')")
    dropped.click("#reset")
    dropped.wait(f"document.getElementById('status').innerText === '{count}'")
    dropped.run("document.getElementById('mask').focus()")
    area = dropped.text(".area")
    dropped.press(*["Right"] * 30)
    dropped.wait(f"!waiting && document.querySelector('.area').innerText !== '{area}'")
    assert float(dropped.text(".area").rstrip(" %")) < float(area.rstrip(" %"))
    assert dropped.run(PIXELS) != before
    assert dropped.run("return performance.getEntriesByType('resource').length") == 0


def test_the_mouse_over_a_mask_lights_it_and_its_line(dropped):
    assert not dropped.run("return document.querySelector('li .lit')")
    at = dropped.run(INSIDE)
    before = dropped.run(PIXELS)
    dropped.hover("#canvas", *map(round, at))
    dropped.wait("!waiting && document.querySelector('li .lit')?.dataset.instance === '0'")
    assert dropped.run(PIXELS) != before


def test_it_is_used_by_keys_alone(dropped):
    dropped.run("document.querySelector('#list button').focus()")
    dropped.wait("document.activeElement === document.querySelector('#list button')")
    dropped.press("Down")
    dropped.wait("document.querySelectorAll('#list button')[1].classList.contains('lit')")
    dropped.press("Enter")
    pressed = "document.querySelectorAll('#list [aria-pressed=true]').length"
    assert dropped.run(f"return {pressed}") == 1
    dropped.press("Escape")
    assert dropped.run(f"return {pressed}") == 0
    dropped.run("document.getElementById('show-cells').focus()")
    dropped.press("Space")
    assert "p2 · row 1, column 1 of 2 × 2" in dropped.text("#list")
    assert "2 by p2, 0 by p3" in dropped.text("#levels")
    dropped.press("Space")
    assert dropped.run(UNNAMED) == []


def test_downloads_are_what_the_sliders_show(dropped, found_by, folder):
    dropped.run("document.getElementById('score').focus()")
    dropped.press("Right")
    score, shown = dropped.run("return [document.getElementById('score').value, shown().length]")
    dropped.click("#json")
    rows = json.loads(saved(folder, "discs.json"))
    assert len(rows) == shown
    assert rows == [
        {"file_name": "discs.png", **row}
        for row in found_by(blobs()).above(float(score)).to_coco(1)
    ]
    dropped.click("#png")
    assert saved(folder, "discs.png").startswith(b"\x89PNG")


def test_what_is_no_image_is_told_and_what_was_shown_stays(dropped, folder):
    (folder / "notes.txt").write_text("hello")
    count = dropped.text("#status")
    dropped.type("#file", str(folder / "notes.txt"))
    dropped.wait("!document.getElementById('error').hidden")
    assert dropped.text("#error").startswith("notes.txt is no image")
    assert dropped.text("#name") == "discs.png" and dropped.text("#status") == count
    dropped.run("look({name: 'large.tif', size: 2 ** 40})")  # which is not sent at all
    assert dropped.text("#error").startswith("large.tif has 1048576 MB where 256 are taken")
    dropped.click("#samples button:last-child")
    dropped.wait("document.querySelector('#samples [aria-pressed=true]')")
    assert dropped.run("return document.getElementById('error').hidden")
    assert dropped.text("#name") == "shapes 6.png"


def test_it_fits_a_phone_and_the_dark(dropped):
    def background() -> str:
        return dropped.run("return getComputedStyle(document.body).backgroundColor")

    dropped.look_like(1280, 900)
    light = background()
    dropped.look_like(360, 740, dark=True)
    assert background() != light
    assert dropped.run("return document.documentElement.scrollWidth <= 360")
    assert np.isclose(
        *dropped.run("return [canvas.clientWidth / canvas.clientHeight, 133 / 75]"), 0.02
    )
