"""The audit of dependencies fails where a hole is known, and says whom nobody answered for."""

import json
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from tools import audit

SOUND = {"name": "numpy", "version": "2.5", "vulns": []}
UNKNOWN = {"name": "jax", "skip_reason": "not found"}
HOLED = {"name": "x", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}]}


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Any:
    def put(*packages: Any, stderr: str = "") -> None:
        stdout = json.dumps({"dependencies": packages}) if packages else ""
        said = SimpleNamespace(stdout=stdout, stderr=stderr)
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: said)

    return put


def test_a_known_hole_is_a_failure(answer: Any, capsys: pytest.CaptureFixture) -> None:
    answer(SOUND, UNKNOWN, HOLED)
    assert audit.main() == 1
    assert capsys.readouterr().out.splitlines() == [
        "audit: x 1: CVE-1, mended in 1.1",
        "audit: 1 known holes in 2 packages; the registry says nothing of 1",
    ]


def test_what_nobody_was_asked_about_is_not_called_sound(
    answer: Any, capsys: pytest.CaptureFixture
) -> None:
    answer(SOUND, UNKNOWN)
    assert audit.main() == 0
    assert "0 known holes in 1 packages; the registry says nothing of 1" in capsys.readouterr().out
    answer(stderr="Traceback\nno network")
    assert audit.main() == 0
    assert capsys.readouterr().out == "audit: pip-audit could ask nobody: no network\n"
