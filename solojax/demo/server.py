"""The page and its answers over HTTP: Python's own server, with what a browser may bring refused.

A page of elsewhere must not reach it through the browser of whoever runs it. So hosts that are
names are refused (a stranger's name may be turned to this machine), and so is what comes from
another origin.
"""

import base64
import contextlib
import functools
import gzip
import hashlib
import http.server
import importlib.resources
import ipaddress
import json
import re
import socket
import threading
import time
import traceback
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from solojax.demo.answers import Answers, Choice, Upload
from solojax.types import InputError

MOST_BYTES = 2**28  # of an upload
AT_ONCE = 2  # images that are read and looked at; others wait for their turn
PATIENCE = 120.0  # seconds that they wait, and that an upload may take
SILENCE = 15.0  # seconds that a browser may say nothing
WAITING = 128  # connections
LONGEST_NAME = 120  # signs of a file's name
LINGER = 2.0  # seconds that what was refused may still take to be sent
SMALL = 2**10  # bytes that are not worth packing
CHUNK = 2**20  # bytes


class Refusal(Exception):
    """What is answered in place of what was asked for."""

    def __init__(self, status: int, line: str):
        super().__init__(line)
        self.status = status


class Server(http.server.ThreadingHTTPServer):
    """Answers once ``answers`` is set; who comes before waits.

    Args:
      host: the address to listen at.
      port: 0 takes a free one.

    Raises:
      InputError: there is no such address here, or the port is taken.
    """

    daemon_threads = True
    request_queue_size = WAITING
    answers: Answers

    def __init__(self, host: str, port: int):
        self.host = host
        self._names = {"localhost", host.lower()}
        if host in ("0.0.0.0", "::"):  # every address of this machine, which has a name then
            self.host = socket.gethostname()
            self._names.add(self.host.lower())
        self.turns = threading.BoundedSemaphore(AT_ONCE)
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise InputError(
                f"cannot listen at {host}, port {port} ({error.strerror}); another --port may be "
                "free, and --port 0 takes one that is"
            ) from None
        page = importlib.resources.files("solojax.demo").joinpath("page.html").read_text("utf-8")
        self.page = page.encode()
        self.policy = _policy(page)

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.server_address[1]}"

    def knows(self, host: str) -> bool:
        """Whether a request may be for that host, as a browser names it."""
        name = urllib.parse.urlsplit(f"//{host}").hostname or ""
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _policy(page: str) -> str:
    """What the page may do: its own script and style, and nothing from elsewhere."""
    rules = ["default-src 'none'", "img-src data: blob:", "connect-src 'self'", "base-uri 'none'"]
    rules += ["form-action 'none'", "frame-ancestors 'none'"]
    for kind in ("script", "style"):
        parts = re.findall(f"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        digests = [base64.b64encode(hashlib.sha256(one.encode()).digest()) for one in parts]
        rules.append(f"{kind}-src " + " ".join(f"'sha256-{one.decode()}'" for one in digests))
    return "; ".join(rules)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = SILENCE
    server: Server

    def version_string(self) -> str:
        return "solojax"

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: a page that works needs no lines about it."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        self.close_connection = True
        self._send(code, json.dumps({"error": message or "refused"}).encode(), "application/json")

    def do_GET(self) -> None:
        self._answer({"/": self._page, "/about": self._about, "/sample": self._sample})

    def do_POST(self) -> None:
        answers = self.server.answers
        files = {  # path -> how it is made of an upload and a choice, and its kind
            "/results.json": (answers.results, "application/json"),
            "/picture.png": (answers.picture, "image/png"),
            "/labels.png": (answers.label_map, "image/png"),
            "/segments.zip": (answers.segments, "application/zip"),
            "/mask.json": (answers.mask_row, "application/json"),
            "/mask.png": (answers.mask_picture, "image/png"),
            "/look": (lambda upload, _: answers.look(upload), "application/json"),
            "/superpixels": (lambda upload, _: answers.superpixels(upload), "application/json"),
        }
        self._answer({path: functools.partial(self._make, *about) for path, about in files.items()})

    def _answer(self, routes: dict[str, Callable[[], None]]) -> None:
        address = urllib.parse.urlsplit(self.path)
        self._query = dict(urllib.parse.parse_qsl(address.query))
        self._is_unread = self.command == "POST"
        try:
            self._check_sender()
            if address.path not in routes:
                raise Refusal(404, f"nothing answers {self.command} {address.path} here")
            routes[address.path]()
        except (ConnectionError, TimeoutError):  # nobody is there any more
            self.close_connection = True
        except (Refusal, InputError) as fault:
            self._refuse(getattr(fault, "status", 400), str(fault))
        except Exception:
            traceback.print_exc()
            self._refuse(500, "this failed, and it should not; the server's terminal says more")

    def _check_sender(self) -> None:
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if not self.server.knows(host):
            raise Refusal(403, f"this is not {host!r}; open {self.server.url}")
        if origin and urllib.parse.urlsplit(origin).netloc != host:
            raise Refusal(403, f"pages of {origin!r} are not answered; open {self.server.url}")

    def _page(self) -> None:
        self._send(200, self.server.page, "text/html; charset=utf-8")

    def _about(self) -> None:
        self._send_json({**self.server.answers.about(), "most_bytes": MOST_BYTES})

    def _sample(self) -> None:
        try:
            number = int(self._query["number"])
            if number < 0:
                raise IndexError
            encoded = self.server.answers.samples[number].read()
        except (KeyError, ValueError, IndexError, OSError):  # InputError is a ValueError
            raise Refusal(404, "there is no such sample, or its file is gone") from None
        self._send(200, encoded, "application/octet-stream")

    def _make(self, make: Callable[[Upload, Choice], Any], kind: str) -> None:
        """Answers with what is made of the body, when it is its turn."""
        length = self._length()
        choice = Choice(self._share("score"), self._share("mask"), self._superpixels())
        name = Path(self._query.get("name", "")).name[:LONGEST_NAME] or "the image"
        if not self.server.turns.acquire(timeout=PATIENCE):
            raise Refusal(503, "too many images are waiting; try again in a moment")
        try:
            made = make(Upload(self._read(length), name), choice)
        finally:
            self.server.turns.release()
        if kind == "application/json":
            self._send_json(made)
        else:
            self._send(200, made, kind)

    def _length(self) -> int:
        told = self.headers.get("Content-Length", "")
        if not told.isdecimal() or "Transfer-Encoding" in self.headers:
            raise Refusal(411, "no image came; send its bytes as the body, with Content-Length")
        if int(told) > MOST_BYTES:
            raise Refusal(
                413,
                f"the image has {int(told) / 2**20:,.0f} MB where {MOST_BYTES // 2**20} are taken; "
                "solojax predict takes larger ones",
            )
        return int(told)

    def _share(self, name: str) -> float | None:
        if name not in self._query:
            return None
        try:
            value = float(self._query[name])
        except ValueError:
            value = -1
        if not 0 <= value <= 1:
            raise Refusal(400, f"{name}={self._query[name]!r} must be a number in 0..1")
        return value

    def _superpixels(self) -> frozenset[int]:
        given = self._query.get("superpixels", "")
        if not re.fullmatch(r"(\d{1,9}(,\d{1,9})*)?", given, re.ASCII):
            raise Refusal(400, f"superpixels={given[:99]!r} must be numbers with commas between")
        return frozenset(map(int, filter(None, given.split(","))))

    def _read(self, length: int) -> bytes:
        content, end = bytearray(), time.monotonic() + PATIENCE
        while len(content) < length:
            chunk = self.rfile.read1(min(length - len(content), CHUNK))
            if not chunk or time.monotonic() > end:
                raise ConnectionError
            content += chunk
        self._is_unread = False
        return bytes(content)

    def _send_json(self, content: Any) -> None:
        self._send(200, json.dumps(content, allow_nan=False).encode(), "application/json")

    def _refuse(self, status: int, line: str) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self._send(status, json.dumps({"error": line}).encode(), "application/json")
            if self._is_unread:
                self._linger()

    def _linger(self) -> None:
        """Lets a body come that nobody reads: closed at once, the answer would be lost as well."""
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(LINGER)
        end = time.monotonic() + LINGER
        while time.monotonic() < end and self.connection.recv(CHUNK):
            pass

    def _send(self, status: int, content: bytes, kind: str) -> None:
        packed = kind == "application/json" and len(content) > SMALL
        headers = getattr(self, "headers", {})  # of what could not be understood there are none
        packed &= "gzip" in headers.get("Accept-Encoding", "")
        if packed:
            content = gzip.compress(content, 1)
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            **({"Content-Encoding": "gzip"} if packed else {}),
            **({"Connection": "close"} if self.close_connection else {}),
            "Cache-Control": "no-store",
            "Content-Security-Policy": self.server.policy,
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
