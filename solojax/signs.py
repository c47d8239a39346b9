"""Signs of life that processes give each other, by threads that need no lock of Python's.

They are those by which ``jax.distributed`` gives its own, of a second service: the first ends all
processes with the first that is lost, by a crash and without the name of its host. A process that
holds the lock for a minute, as the parser of a large JSON does, goes on giving them; one that is
stopped or gone does not. What hangs is for ``training.guard`` to find.
"""

import socket
import time
from typing import Any

from solojax.types import InputError

_ADDRESS = "solojax/signs"  # key of the port where process 0 hears them


def reach(address: str, what: str, within: float) -> None:
    """Waits for process 0 to listen; JAX would end this process by a crash if it never does."""
    host, _, port = address.rpartition(":")
    end = time.monotonic() + within
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise InputError(
                    f"{what} did not answer for {within} s ({error}); start process 0 there, and "
                    "look whether the port is open"
                ) from error
        time.sleep(0.5)


class Signs:
    """Gives signs of this process and hears who gives none; process 0 serves all.

    Args:
      state: of ``jax.distributed``, which this process has joined.
      within: seconds in which all must have begun.
      silence: seconds without a sign after which a process is lost.

    Raises:
      InputError: process 0 does not answer.
    """

    def __init__(self, state: Any, within: int, silence: int):
        from jax._src.lib import _jax  # which has no public name

        self._all = [*range(state.num_processes)]
        if state.process_id == 0:
            with socket.socket() as free:
                free.bind(("", 0))
                port = str(free.getsockname()[1])
            self._service = _jax.get_distributed_runtime_service(
                f"[::]:{port}",
                state.num_processes,
                heartbeat_timeout=silence,
                recoverable=True,  # the loss of one is told, and ends nobody
            )
            state.client.key_value_set(_ADDRESS, port)
        port = state.client.blocking_key_value_get(_ADDRESS, 1000 * within)
        address = f"{state.coordinator_address.rpartition(':')[0]}:{port}"
        reach(address, f"{address}, where process 0 hears signs of life,", within)
        self._client = _jax.get_distributed_runtime_client(
            address,
            state.process_id,
            init_timeout=within,
            heartbeat_timeout=silence,
            use_compression=True,
        )
        self._client.connect()

    def lost(self) -> list[int]:
        """The numbers of processes that have fallen silent; all must ask again and again.

        Waits until all others have asked the same, or are lost: one that cannot, since it holds
        the lock, is late.
        """
        living = self._client.get_live_nodes(self._all)
        return [one for one in self._all if one not in living]

    def end(self) -> None:
        """Gives no more, when nobody asks any more."""
        self._client.shutdown()
