"""Checkpoints of the training state, by Orbax."""

from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import orbax.checkpoint as ocp

from solojax.types import InputError, TrainState

KEPT = 2  # newest checkpoints; the one before the last is the way back from a damaged one


class Checkpoints:
    """The checkpoints of a run folder; a context manager, so that no write is cut off."""

    def __init__(self, workdir: Path):
        self._folder = (workdir / "checkpoints").resolve()
        self._manager = ocp.CheckpointManager(
            self._folder, options=ocp.CheckpointManagerOptions(max_to_keep=KEPT, create=True)
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._manager.wait_until_finished()
        self._manager.close()

    def latest_step(self) -> int | None:
        """The step of the newest checkpoint, or None."""
        return self._manager.latest_step()

    def save(self, step: int, state: TrainState) -> None:
        """Saves in the background; complete or absent."""
        # Host arrays: across processes Orbax refuses those of pmap.
        self._manager.save(step, args=ocp.args.StandardSave(jax.device_get(state)))

    def restore(self, like: TrainState) -> TrainState:
        """The newest state, on the host; ``like`` gives its structure and shapes.

        Raises:
          InputError: there is none, or it is of another model.
        """
        step = self._newest()
        like = jax.device_get(like)
        try:
            state = self._manager.restore(step, args=ocp.args.StandardRestore(like))
        except ValueError as error:  # another tree
            raise self._misfit(step, str(error).splitlines()[0]) from error
        for (path, ours), theirs in zip(
            jax.tree.leaves_with_path(like), jax.tree.leaves(state), strict=True
        ):
            # Orbax hands back whatever shape was saved.
            if ours.shape != theirs.shape:
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                raise self._misfit(step, f"{name} is {theirs.shape}, not {ours.shape}")
        return state

    def restore_variables(self) -> dict[str, Any]:
        """What of the newest state is to be evaluated, without knowing the optimizer."""
        raw = self._manager.restore(self._newest(), args=ocp.args.StandardRestore())
        return {
            "params": raw.get("ema_params") or raw["params"],
            "batch_stats": raw.get("batch_stats") or {},
        }

    def _misfit(self, step: int, detail: str) -> InputError:
        return InputError(
            f"checkpoint {self._folder / str(step)} is of another model or optimizer than the "
            f"config; take another workdir ({detail})"
        )

    def _newest(self) -> int:
        step = self.latest_step()
        if step is None:
            raise InputError(f"{self._folder} holds no checkpoint; train first")
        return step
