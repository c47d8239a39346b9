"""Checkpoints of the training state, by Orbax."""

from pathlib import Path
from types import TracebackType
from typing import Any

import flax.linen as nn
import jax
import orbax.checkpoint as ocp

from solojax.models import detector
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
            raise self._misfit(str(error).splitlines()[0]) from error
        self._check(state, like)
        return state

    def restore_variables(self, model: nn.Module) -> dict[str, Any]:
        """What of the newest state is to be evaluated, without knowing the optimizer.

        Raises:
          InputError: there is none, or it is of another model.
        """
        raw = self._manager.restore(self._newest(), args=ocp.args.StandardRestore())
        variables = {"params": raw.get("ema_params") or raw["params"]}
        if raw.get("batch_stats"):
            variables["batch_stats"] = raw["batch_stats"]
        wanted = jax.eval_shape(lambda: detector.init_variables(model, jax.random.key(0)))
        self._check(variables, wanted)
        return variables

    def _check(self, found: Any, wanted: Any) -> None:
        """Orbax hands back whatever was saved: compares names and shapes."""

        def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
            return {jax.tree_util.keystr(p): x.shape for p, x in jax.tree.leaves_with_path(tree)}

        ours, theirs = shapes(wanted), shapes(found)
        for name in sorted(ours.keys() | theirs.keys()):
            if ours.get(name) != theirs.get(name):
                raise self._misfit(f"{name} is {theirs.get(name)}, not {ours.get(name)}")

    def _misfit(self, detail: str) -> InputError:
        return InputError(
            f"checkpoint {self._folder / str(self.latest_step())} is of another model or "
            f"optimizer than the config; take another workdir ({detail})"
        )

    def _newest(self) -> int:
        step = self.latest_step()
        if step is None:
            raise InputError(f"{self._folder} holds no checkpoint; train first")
        return step
