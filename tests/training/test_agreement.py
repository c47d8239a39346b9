"""Claims about what processes must have in common before they train together."""

import numpy as np
import pytest

from solojax import config as config_lib
from solojax import processes
from solojax.data.records import coco
from solojax.training import agreement
from tests import examples

RECORDS = coco.Records(
    source=None,
    categories=(),
    image_ids=[1, 2],
    sizes=np.array([[4, 6], [6, 4]], np.int32),
    fingerprint="of a JSON",
)


@pytest.fixture
def facts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What this process tells the others of itself, each time."""
    told: list[str] = []
    monkeypatch.setattr(processes, "check_agreement", lambda *facts: told.append(repr(facts)))
    return told


def config_of(root: str = "here") -> config_lib.Config:
    return config_lib.Config(examples.MODEL, config_lib.Data(root=root))


@pytest.mark.parametrize(
    "other",
    [
        RECORDS._replace(fingerprint="of another JSON"),  # with the same images
        RECORDS._replace(sizes=np.array([[4, 6], [6, 5]], np.int32)),
        RECORDS._replace(image_ids=[1, 3]),
    ],
    ids=["JSON", "sizes", "ids"],
)
def test_processes_of_other_images_sizes_or_annotations_are_of_two_minds(facts, other) -> None:
    agreement.check_processes(config_of(), RECORDS, scores=True)
    agreement.check_processes(config_of(), other, scores=True)
    assert facts[0] != facts[1]


def test_where_files_lie_may_differ(facts) -> None:
    agreement.check_processes(config_of("here"), RECORDS, scores=True)
    agreement.check_processes(config_of("there"), RECORDS, scores=True)
    assert facts[0] == facts[1]
