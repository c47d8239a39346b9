"""solojax: instance segmentation in JAX and Flax."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from solojax.inference.predictor import Predictor as Predictor

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Only who asks for it waits for JAX.
    if name == "Predictor":
        from solojax.inference.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
