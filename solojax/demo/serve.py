"""From a run to a page that answers."""

import contextlib
import ipaddress
from pathlib import Path

from solojax.demo import samples
from solojax.demo.answers import Answers
from solojax.demo.server import Server
from solojax.inference.predictor import Predictor
from solojax.training import checkpoint as checkpoints


def serve(run: Path, name: str, checkpoint: str, host: str, port: int) -> None:
    """Serves the page of a run until Ctrl-C.

    Args:
      run: the folder.
      name: what to call it.
      checkpoint: as of ``Predictor.from_run``.
      host: the address to listen at.
      port: 0 takes a free one.

    Raises:
      InputError: the run is none, or nothing can listen there.
    """
    config = checkpoints.read_config(run)
    with Server(host, port) as server:  # first: a port that is taken is told at once
        predictor = Predictor.from_run(run, checkpoint)
        print("compiling the network for its canvases, once; after that images are answered")
        predictor.compile()
        server.answers = Answers(predictor, config.model.head, name, samples.find(config.data))
        if not _is_loopback(host):
            print("everybody who reaches this address can use it; nobody is asked who they are")
        print(f"{server.url} shows what {name} finds in your images; Ctrl-C ends it", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
