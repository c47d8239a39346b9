"""Claims about the page of runs that label pixels, and about superpixels on it."""

import base64
import dataclasses
import io
import json
import zipfile

import cv2
import numpy as np
import pytest

from solojax import cli
from solojax.config import Category
from solojax.data import panoptic_ids, rle
from solojax.demo.serve import Server
from solojax.inference import superpixels
from solojax.inference.predictor import Predictor
from tests.demo import chromium
from tests.demo.served import DATA, ask, blobs, png, predictor, serving
from tests.demo.test_page import PIXELS, saved
from tests.inference.networks import Grounds, Scenes

STUFF = (Category(100, "sky"), Category(101, "sea"))
READY = "typeof found === 'object' && !document.body.classList.contains('busy') && !waiting"
NAMES = "[...document.querySelectorAll('#legend .name')].map(one => one.innerText).join()"


def make(network: Grounds | Scenes) -> Predictor:
    data = dataclasses.replace(DATA, stuff=STUFF)
    return Predictor(network, {"least": np.float32(0.6)}, data)


@pytest.fixture(scope="module")
def scenes():
    return make(Scenes())


@pytest.fixture(scope="module")
def server(scenes):
    with serving(scenes, Scenes()) as one:
        yield one


@pytest.fixture(scope="module")
def grounds():
    with serving(make(Grounds()), Grounds()) as one:
        yield one


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture(scope="module")
def browser(server, folder):
    if not (chromium.CHROMIUM and chromium.DRIVER):
        pytest.skip("no chromium and chromedriver here")
    with chromium.opened(server.url, folder) as one:
        yield one


def read(content: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)


def opened(browser: chromium.Chromium, server: Server, folder) -> chromium.Chromium:
    """The page of that server with the discs on it."""
    (folder / "discs.png").write_bytes(png(blobs()))
    browser.call("url", url=server.url)
    browser.look_like(1280, 900)
    browser.wait("typeof about === 'object'")
    browser.hover("h1")
    browser.type("#file", str(folder / "discs.png"))
    browser.wait(READY)
    return browser


def choose(browser: chromium.Chromium, x: int, y: int) -> None:
    """Clicks on the canvas, from its middle on."""
    place = {"origin": {chromium.ELEMENT: browser.find("#canvas")}, "x": x, "y": y, "duration": 0}
    acts = [{"type": "pointerMove", **place}]
    acts += [{"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp")]
    browser.call("actions", actions=[{"type": "pointer", "id": "mouse", "actions": acts}])


def test_the_page_gets_the_stuff_beneath_the_instances(server, scenes):
    told = ask(server, "/look", png(blobs())).json
    ground = np.frombuffer(base64.b64decode(told["ground"]), np.uint8).reshape(75, 133)
    label_map = scenes.look(blobs()).label_map
    assert [one["class"] for one in told["labels"]] == ["sea", "sky"]
    for place, label in ((0, 4), (1, 3)):
        np.testing.assert_array_equal(ground == place, label_map == label)
        share = told["labels"][place]["share"]
        assert share == pytest.approx((label_map == label).mean())


def test_label_map_and_segments_are_handed_out_as_predict_writes_them(server, scenes, grounds):
    result = scenes(blobs())
    labels = read(ask(server, "/labels.png", png(blobs())).content)
    np.testing.assert_array_equal(labels, result.label_map)
    packed = ask(server, "/segments.zip?name=two.jpg", png(blobs()))
    assert packed.headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(packed.content)) as files:
        content = json.loads(files.read("panoptic.json"))
        ids = panoptic_ids.of_rgb(read(files.read("panoptic/two.png"))[..., ::-1])
    np.testing.assert_array_equal(ids, result.segment_ids)
    (row,) = content["annotations"]
    assert {one["id"] for one in row["segments_info"]} == set(np.unique(ids)) - {0}
    assert [one["isthing"] for one in content["categories"]] == [1, 1, 1, 0, 0]
    assert "no segments" in ask(grounds, "/segments.zip", png(blobs())).json["error"]
    with serving(predictor()) as other:
        assert "labels no pixels" in ask(other, "/labels.png", png(blobs())).json["error"]


def test_a_mask_is_the_superpixels_that_are_chosen_in_pixels_of_the_original(server):
    pytest.importorskip("skimage")
    image = cv2.resize(blobs(), (1600, 200))
    told = ask(server, "/superpixels", png(image)).json
    numbers = np.frombuffer(base64.b64decode(told["numbers"]), "<u2").reshape(160, 1280)
    assert set(np.unique(numbers)) == set(range(1, told["count"] + 1))
    parts = [np.ptp(image[superpixels.enlarge(numbers, (200, 1600)) == n], 0) for n in range(1, 9)]
    assert np.max(parts) < 30  # of one colour each
    expected = superpixels.union(numbers, {1, 7}, (200, 1600))
    mask = read(ask(server, "/mask.png?superpixels=1,7", png(image)).content)
    np.testing.assert_array_equal(mask, 255 * expected)
    row = ask(server, "/mask.json?superpixels=7,1&name=a.png", png(image)).json
    assert row["file_name"] == "a.png" and row["area"] == expected.sum()
    (decoded,) = rle.decode([row["segmentation"]["counts"].encode()], *row["segmentation"]["size"])
    np.testing.assert_array_equal(decoded, expected)
    for chosen in ("", "?superpixels=0", "?superpixels=1,60000", "?superpixels=1,,2"):
        answer = ask(server, f"/mask.png{chosen}", png(image[:90, :90]))
        assert answer.status == 400 and "numbers" in answer.json["error"], answer


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1), (5, 9)])
def test_images_of_any_size_have_superpixels(size):
    pytest.importorskip("skimage")
    numbers = superpixels.segment(np.zeros((*size, 3), np.uint8))
    assert numbers.shape == size and numbers.min() == 1


def test_where_there_is_no_scikit_image_a_line_says_what_brings_it(server, monkeypatch, capsys):
    monkeypatch.setattr(superpixels.importlib.util, "find_spec", lambda name: None)
    line = 'superpixels need scikit-image; pip install "solojax[superpixels]"'
    assert ask(server, "/about").json["superpixels"] == line
    assert ask(server, "/superpixels", png(blobs())).json["error"] == line
    assert cli.main(["data", "show", "nowhere", "--config", "shapes", "--superpixels"]) == 2
    assert line in capsys.readouterr().err


@pytest.mark.slow
def test_labels_lie_beneath_the_instances_and_the_mouse_tells_them(browser, server, scenes, folder):
    page = opened(browser, server, folder)
    assert page.run(f"return {NAMES}") == "sea,sky"
    assert "labels pixels as sky, sea" in page.text("#facts")
    before = page.run(PIXELS)
    page.hover("#canvas", -200, 150)
    page.wait("!waiting && document.querySelector('#legend .lit')")
    assert page.text("#tip") == "sea" == page.text("#legend .lit .name")
    page.hover("h1")
    page.wait("!waiting && document.getElementById('tip').hidden")
    page.click("#show-labels")
    page.wait("!waiting && !document.querySelector('#legend li')")
    assert page.run(PIXELS) != before
    page.click("#labels-png")
    np.testing.assert_array_equal(
        read(saved(folder, "discs.labels.png")), scenes(blobs()).label_map
    )
    page.click("#segments")
    assert saved(folder, "discs.panoptic.zip").startswith(b"PK")
    assert page.complaints() == []


@pytest.mark.slow
def test_of_a_run_without_instances_no_slider_is_there(browser, grounds, folder):
    page = opened(browser, grounds, folder)
    assert page.text("#status") == "2 labels" and page.run(f"return {NAMES}") == "sea,sky"
    seen = "[...document.querySelectorAll('[type=range], #json, #segments, #labels-png')]"
    shown = page.run(f"return {seen}.filter(one => one.checkVisibility()).map(one => one.id)")
    assert shown == ["labels-png"]
    page.look_like(360, 740, dark=True)
    assert page.run("return document.documentElement.scrollWidth <= 360")
    assert page.complaints() == []


@pytest.mark.slow
def test_superpixels_that_are_clicked_make_a_mask(browser, grounds, folder):
    pytest.importorskip("skimage")
    page = opened(browser, grounds, folder)
    page.click("#show-superpixels")
    page.wait(f"superpixels && {READY}")
    assert page.run("return document.getElementById('mask-png').disabled")
    before = page.run(PIXELS)
    for x, y in ((-150, -20), (100, 100), (100, 100)):  # the last takes the second away
        choose(page, x, y)
    page.wait("!waiting && superpixels.picked.size === 1")
    assert page.text("#picked").startswith("1 picked")
    page.run("canvas.focus()")
    page.press("Right", "Space")
    page.wait("!waiting && superpixels.picked.size === 2")
    assert page.run(PIXELS) != before
    chosen = page.run("return [...superpixels.picked]")
    page.click("#mask-png")
    expected = superpixels.union(superpixels.segment(blobs()), chosen, (75, 133))
    np.testing.assert_array_equal(read(saved(folder, "discs.mask.png")), 255 * expected)
    page.click("#mask-json")
    assert json.loads(saved(folder, "discs.mask.json"))["area"] == expected.sum()
    page.click("#unpick")
    assert page.text("#picked").startswith("Click some")
    page.click("#show-superpixels")
    assert page.run("return document.getElementById('picking').hidden")
    page.run("superpixels = null; document.getElementById('show-superpixels').click(); look(file)")
    page.click("#samples button:last-child")  # while those of the discs come
    page.wait(f"document.getElementById('name').innerText === 'shapes 6.png' && {READY}")
    assert page.run("return superpixels.numbers.length === canvas.width * canvas.height")
    assert page.text("#picked").startswith("Click some")
    assert page.complaints() == []
