"""A headless Chromium by its own driver, over the protocol of browsers: no package is needed."""

import base64
import contextlib
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"Down": "\ue015", "Up": "\ue013", "Right": "\ue014", "Enter": "\ue007", "Escape": "\ue00c"}
KEYS |= {"Tab": "\ue004", "End": "\ue010", "Space": " "}
PATIENCE = 20.0  # seconds


class Chromium:
    """One window."""

    def __init__(self, session: str):
        self._session = session

    def call(self, command: str, **values: Any) -> Any:
        """Sends a command; without values it is a question."""
        return _send(f"{self._session}/{command}", values)

    def run(self, script: str, *values: Any) -> Any:
        """What a function of that body returns."""
        return self.call("execute/sync", script=script, args=list(values))

    def wait(self, expression: str) -> Any:
        """Its value, once that is something."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if value := self.run(f"return {expression}"):
                return value
            time.sleep(0.02)
        raise AssertionError(f"{expression} never came: {self.text('body')}")

    def find(self, selector: str) -> str:
        found = self.call("element", using="css selector", value=selector)
        return found[ELEMENT]

    def text(self, selector: str) -> str:
        return self.run("return document.querySelector(arguments[0]).innerText", selector)

    def click(self, selector: str) -> None:
        self.call(f"element/{self.find(selector)}/click", wanted=selector)

    def type(self, selector: str, text: str) -> None:
        """Sends keys to it, of a file input the path."""
        self.call(f"element/{self.find(selector)}/value", text=text)

    def press(self, *keys: str) -> None:
        """Presses keys where the focus is."""
        strokes = [{"type": kind, "value": KEYS[k]} for k in keys for kind in ("keyDown", "keyUp")]
        self.call("actions", actions=[{"type": "key", "id": "keys", "actions": strokes}])

    def hover(self, selector: str, x: int = 0, y: int = 0) -> None:
        """Moves the mouse there, from its middle on."""
        place = {"origin": {ELEMENT: self.find(selector)}, "x": x, "y": y, "duration": 0}
        moves = [{"type": "pointerMove", **place}]
        self.call("actions", actions=[{"type": "pointer", "id": "mouse", "actions": moves}])

    def devtools(self, command: str, **values: Any) -> Any:
        return self.call("goog/cdp/execute", cmd=command, params=values)

    def look_like(self, width: int, height: int, dark: bool = False, scale: float = 1) -> None:
        """Takes a size and a scheme of colours."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[scheme])
        size = {"width": width, "height": height, "deviceScaleFactor": scale}
        self.devtools("Emulation.setDeviceMetricsOverride", **size, mobile=width < 600)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("screenshot")))

    def complaints(self) -> list[str]:
        """What its console says of the page."""
        return [entry["message"] for entry in self.call("se/log", type="browser")]


@contextlib.contextmanager
def opened(url: str, folder: Path) -> Iterator[Chromium]:
    """Opens a page; downloads come to lie in ``folder / "downloads"``."""
    downloads = folder / "downloads"
    downloads.mkdir()
    options = {
        "binary": CHROMIUM,
        "args": [*FLAGS, f"--user-data-dir={folder / 'chromium'}"],
        "prefs": {"download.default_directory": str(downloads)},
    }
    wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
    driver = subprocess.Popen([str(DRIVER), "--port=0"], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    try:
        line = next(line for line in driver.stdout if "started successfully on port" in line)
        home = f"http://127.0.0.1:{line.rstrip().rstrip('.').rpartition(' ')[2]}/session"
        session = _send(home, {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        browser = Chromium(f"{home}/{session}")
        try:
            browser.call("url", url=url)
            yield browser
        finally:
            _send(f"{home}/{session}", None, "DELETE")
    finally:
        driver.terminate()
        driver.wait()
        driver.stdout.close()


def _send(address: str, values: Any, method: str = "") -> Any:
    data = json.dumps(values).encode() if values else None
    method = method or ("POST" if values else "GET")
    request = urllib.request.Request(address, data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=2 * PATIENCE) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(error.read().decode()[:500]) from None
