"""Claims about the server of the demo, asked as a browser asks and as others do."""

import base64
import contextlib
import json
import socket
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from solojax import cli, config
from solojax.demo import samples, serve
from solojax.demo import server as demo_server
from solojax.demo.answers import LEAST_MASK
from solojax.demo.server import Server
from solojax.inference.predictor import Predictor
from solojax.training import checkpoint
from tests.demo.served import DATA, Squares, ask, blobs, png, predictor, serving

JSON = "application/json"


@pytest.fixture(scope="module")
def found_by():
    return predictor()


@pytest.fixture(scope="module")
def server(found_by):
    with serving(found_by) as one:
        yield one


def test_the_page_gets_all_it_needs_to_cut_masks_itself(server, found_by):
    told = ask(server, "/look?name=two%20discs.png", png(blobs())).json
    look = found_by.look(blobs())
    assert (told["name"], told["height"], told["width"]) == ("two discs.png", 75, 133)
    assert [one["score"] for one in told["instances"]] == look.scores.tolist()
    assert {one["class"]: one["least"] for one in told["instances"]} == {
        **{"red": 0.7, "green": 0.6, "blue": 0.6}
    }
    assert [one["cell"] for one in told["instances"]][3:5] == [
        {"level": "p2", "side": 2, "row": 1, "column": 1},
        {"level": "p3", "side": 4, "row": 0, "column": 0},
    ]
    stored = np.frombuffer(base64.b64decode(told["masks"]), np.uint8)
    for one, mask in zip(told["instances"], look.masks, strict=True):
        top, left, height, width = one["mask"]
        whole = np.zeros(mask.shape)
        patch, stored = stored[: height * width], stored[height * width :]
        whole[top : top + height, left : left + width] = patch.reshape(height, width) / 255
        visible = mask > LEAST_MASK
        np.testing.assert_allclose(whole[visible], mask[visible], atol=0.5 / 255 + 1e-6)
    assert not len(stored)


def test_what_is_handed_out_is_what_predict_makes(server, found_by):
    image = blobs()
    rows = ask(server, "/results.json?name=a.png&score=.8&mask=.6", png(image)).json
    expected = found_by.at(0.6)(image).above(0.8)
    assert rows == [{"file_name": "a.png", **row} for row in expected.to_coco(1)]
    picture = ask(server, "/picture.png", png(image))
    drawn = cv2.imdecode(np.frombuffer(picture.content, np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(drawn, found_by(image).above().plot())


def test_images_are_read_as_everywhere_else_and_what_is_odd_is_told(server, tmp_path):
    turned = Image.fromarray(blobs()).getexif()
    turned[0x0112] = 6
    Image.fromarray(blobs()).save(tmp_path / "a.jpg", exif=turned)
    told = ask(server, "/look", (tmp_path / "a.jpg").read_bytes()).json
    assert (told["height"], told["width"]) == (133, 75)
    (note,) = ask(server, "/look?name=a.png", png(np.full((9, 9), 3000, np.uint16))).json["notes"]
    assert "16 bits" in note or "8 bits" in note, note


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 3.6 thousand million pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = (header, b"IDAT" + zlib.compress(bytes(99)), b"IEND")
    parts = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "said"),
    [
        ("/look?name=a.png", b"", {}, 400, "a.png is empty"),
        ("/look?name=..%2Fb%2Fa.txt", b"hello", {}, 400, "a.txt is no image: it seems to be text"),
        ("/look?name=a.png", bomb(), {}, 400, "3600 megapixels where 100 are read at once"),
        ("/look?name=a.png", png(blobs())[:-40], {}, 400, "its end is missing"),
        ("/look", b"", {"Content_Length": str(2**40)}, 413, "1,048,576 MB where 256 are taken"),
        ("/look", b"", {"Transfer_Encoding": "chunked"}, 411, "no image came"),
        ("/look", b"", {"Content_Length": "-1"}, 411, "no image came"),
        ("/results.json?score=2", b"a", {}, 400, "score='2' must be a number in 0..1"),
        ("/picture.png?mask=nan", b"a", {}, 400, "mask='nan' must be a number in 0..1"),
        ("/look", b"a", {"Host": "elsewhere.example:80"}, 403, "this is not 'elsewhere.example"),
        ("/look", b"a", {"Origin": "http://elsewhere.example"}, 403, "are not answered; open http"),
        ("/look", b"a", {"Origin": "null"}, 403, "pages of 'null' are not answered"),
        ("/about", None, {"Host": "rebound.example"}, 403, "open http://127.0.0.1:"),
        ("/sample?number=-1", None, {}, 404, "no such sample"),
        ("/sample?number=..%2Fa", None, {}, 404, "no such sample"),
        ("/../../etc/passwd", None, {}, 404, "nothing answers GET"),
        ("/page.html", None, {"method": "DELETE"}, 501, "Unsupported method"),
    ],
)
def test_each_fault_is_answered_by_one_line(server, path, body, headers, status, said):
    answer = ask(server, path, body, **headers)
    assert (answer.status, answer.headers["Content-Type"]) == (status, JSON)
    line = answer.json["error"]
    assert said in line and "\n" not in line and len(line) < 300
    assert answer.headers["Connection"] == "close"


def test_who_sends_a_body_that_is_refused_hears_why(server):
    answer = ask(server, "/nowhere", bytes(10**7))
    assert answer.status == 404


def test_who_says_nothing_keeps_nobody_waiting(server, monkeypatch):
    monkeypatch.setattr(demo_server._Handler, "timeout", 0.1)
    begun = b"POST /look HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
    with contextlib.ExitStack() as silent:
        for _ in range(demo_server.AT_ONCE):
            sender = silent.enter_context(socket.create_connection(server.server_address))
            sender.sendall(begun)
        assert sender.recv(1) == b""
        assert ask(server, "/look", png(blobs())).status == 200


def test_what_is_no_request_is_answered_all_the_same(server):
    with socket.create_connection(server.server_address) as sender:
        sender.sendall(b"GET / HTTP/9.9 oh\r\n\r\n")
        said = sender.makefile("rb").read()
    assert b'"error": "Bad request version' in said


def test_what_fails_by_our_fault_says_nothing_of_this_machine(server, monkeypatch, capfd):
    def fail(upload: object) -> None:
        raise OSError(f"{Path(__file__)} is gone")

    monkeypatch.setattr(server.answers, "look", fail)
    answer = ask(server, "/look", b"a")
    assert answer.status == 500 and str(Path(__file__).parent) not in answer.content.decode()
    assert "is gone" in capfd.readouterr().err


def test_fifty_at_once_are_all_answered(server):
    with ThreadPoolExecutor(50) as pool:
        told = list(pool.map(lambda _: ask(server, "/look", png(blobs())), range(50)))
    assert {one.status for one in told} == {200}
    assert len({json.dumps({**one.json, "seconds": 0}) for one in told}) == 1


def test_fifty_megapixels_are_answered(server):
    image = cv2.resize(blobs(), (8000, 6250), interpolation=cv2.INTER_NEAREST)
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    told = ask(server, "/look", jpeg, Accept_Encoding="gzip")
    assert told.status == 200 and told.headers["Content-Encoding"] == "gzip"


def test_who_waits_too_long_is_told_so(server, monkeypatch):
    monkeypatch.setattr(demo_server, "PATIENCE", 0.01)
    for _ in range(demo_server.AT_ONCE):
        server.turns.acquire()
    try:
        answer = ask(server, "/look", png(blobs()))
    finally:
        for _ in range(demo_server.AT_ONCE):
            server.turns.release()
    assert answer.status == 503 and "try again" in answer.json["error"]


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8000", "192.168.1.7:80"])
def test_hosts_that_no_stranger_can_turn_here_are_answered(server, host):
    assert ask(server, "/", Host=host).status == 200


def test_the_page_may_load_nothing_from_elsewhere(server):
    page = ask(server, "/")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
    text = page.content.decode()
    assert (
        "http://" not in text.replace("http://www.w3.org/2000/svg", "") and "https://" not in text
    )
    assert "style=" not in text and "onclick=" not in text  # which the policy would not allow


def test_samples_are_validation_images_or_else_drawn(server, tmp_path):
    for number in range(samples.COUNT):
        (drawn,) = [ask(server, f"/sample?number={number}")]
        assert drawn.content.startswith(b"\x89PNG")
    folder = tmp_path / "images" / "val"
    folder.mkdir(parents=True)
    images = []
    for i in range(9):
        (folder / f"{i}.png").write_bytes(png(blobs()) if i else b"no image")
        images.append({"id": i, "file_name": f"{i}.png", "height": 75, "width": 133})
    (folder / "4.png").unlink()
    (tmp_path / "annotations").mkdir()
    content = {"images": images, "annotations": [], "categories": []}
    (tmp_path / "annotations/instances_val.json").write_text(json.dumps(content))
    found = samples.find(config.Data(root=str(tmp_path)))
    names = [one.name for one in found]
    assert len(names) == samples.COUNT and not {"0.png", "4.png"} & set(names)
    assert all(one.read() == png(blobs()) for one in found)


def test_the_command_compiles_first_then_says_where_it_is(monkeypatch, found_by, tmp_path, capsys):
    done = []
    monkeypatch.setattr(
        checkpoint, "read_config", lambda run: SimpleNamespace(model=Squares(), data=DATA)
    )
    monkeypatch.setattr(Predictor, "from_run", lambda *_: found_by)
    monkeypatch.setattr(found_by, "compile", lambda: done.append("compiled"))

    def stop(server: Server) -> None:
        assert done == ["compiled"] and server.server_address[0] == "127.0.0.1"
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", stop)
    assert cli.main(["demo", "--run", str(tmp_path), "--port", "0"]) == 0
    assert "http://127.0.0.1:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--port", "{taken}"], "Address already in use); another --port"),
        (["--port", "70000"], "--port 70000 must be in 0..65535"),
        (["--host", "192.0.2.1"], "cannot listen at 192.0.2.1, port 8000"),
    ],
)
def test_where_nothing_can_listen_it_says_so(server, monkeypatch, capsys, flags, said):
    monkeypatch.setattr(serve.checkpoints, "read_config", lambda run: None)
    flags = [flag.format(taken=server.server_address[1]) for flag in flags]
    assert cli.main(["demo", "--run", "run", *flags]) == 2
    assert said in capsys.readouterr().err
