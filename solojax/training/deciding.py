"""The one number of an evaluation that decides which checkpoint is the best."""

from collections.abc import Mapping

DECIDING = ("PQ", "AP", "mIoU")
"""The first that there is: of whole scenes, of instances alone, of label maps alone."""


def name_of(numbers: Mapping[str, object]) -> str | None:
    """What it is called; None where they are of no evaluation."""
    return next((name for name in DECIDING if name in numbers), None)


def score_of(numbers: Mapping[str, float]) -> float:
    """That number.

    Raises:
      KeyError: there is none.
    """
    return numbers[name_of(numbers) or DECIDING[0]]
