"""``solojax demo``: a page to drop images on."""

import argparse

from solojax.cli import options
from solojax.types import InputError


def add(parser: argparse.ArgumentParser) -> None:
    """Declares its arguments."""
    options.add_run(parser)
    options.add_checkpoint(parser)
    parser.add_argument(
        "--port", type=int, default=8000, help="8000 where not given; 0: a free one"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address to listen at; without it this machine alone can reach the page",
    )


def run(arguments: argparse.Namespace) -> None:
    """Serves the page."""
    from solojax.demo.serve import serve
    from solojax.training import hub

    if not 0 <= arguments.port < 2**16:
        raise InputError(f"--port {arguments.port} must be in 0..65535")
    folder, name = hub.folder_of(arguments.workdir), arguments.workdir.resolve().name
    serve(folder, name, arguments.checkpoint, arguments.host, arguments.port)
