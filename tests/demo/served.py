"""A server of a network that finds what is bright and what is dark, and that compiles at once."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from solojax import config
from solojax.config import Category
from solojax.demo import samples
from solojax.demo.answers import Answers
from solojax.demo.server import Server
from solojax.heads.grid import Grid
from solojax.inference.predictor import Predictor
from solojax.inference.thresholds import Thresholds
from solojax.types import Detections
from tests.inference.networks import Colors

DATA = config.Data(
    categories=(Category(3, "red"), Category(70, "green"), Category(71, "blue")),
    canvases=((64, 96),),
    train_short_sides=(64,),
    test_short_side=64,
    long_side=96,
)


GROUND = (110, 100, 90)  # a little darker than the mean, hence dark and not sure of it


class Squares(Colors):
    """``Colors`` with a grid, whose first cells find what there is."""

    grid = Grid(levels=("p2", "p3"), strides=(8, 8), sizes=(2, 4), scale_ranges=((1, 32), (16, 99)))

    def detect(self, outputs: Any) -> Detections:
        found = super().detect(outputs)
        return found._replace(cells=jax.lax.broadcasted_iota(jnp.int32, found.labels.shape, 1))


SQUARES = Squares()


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


def predictor() -> Predictor:
    least = Thresholds(0.6, {3: 0.7})
    return Predictor(Squares(), {"least": np.float32(0)}, DATA, least_scores=least)


@contextlib.contextmanager
def serving(found_by: Predictor, head: Any = SQUARES) -> Iterator[Server]:
    """A server that answers, with drawn samples."""
    with Server("127.0.0.1", 0) as server:
        server.answers = Answers(found_by, head, "toy", samples.find(DATA))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(
    server: Server, path: str, body: bytes | None = None, method: str = "", **headers: str
) -> Answer:
    """One request; a body makes it a POST."""
    connection = HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    try:
        method = method or ("GET" if body is None else "POST")
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


def png(image: np.ndarray) -> bytes:
    """``H W 3`` RGB, or one channel of any depth, as a file."""
    stored = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    return cv2.imencode(".png", stored)[1].tobytes()


def blobs() -> np.ndarray:
    """A red disc and a blue one on what is darker: ``75 133 3``."""
    image = np.full((75, 133, 3), GROUND, np.uint8)
    cv2.circle(image, (35, 35), 20, (255, *GROUND[1:]), -1)
    cv2.circle(image, (100, 40), 20, (*GROUND[:2], 255), -1)
    return image
