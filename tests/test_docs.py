"""What the documents point to exists, and nothing in them is still to be filled in."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page):
    for name in re.findall(
        r"(?:configs|tests|docs|solojax)/[\w/]+\.(?:py|md|jpg)", page.read_text()
    ):
        assert (ROOT / name).exists(), name


def test_tests_that_are_named_exist():
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", (ROOT / "docs/reliability.md").read_text())
    named.remove(("a.py", "b"))
    assert len(named) > 100
    for file, name in named:
        assert f"def test_{name}(" in (ROOT / "tests" / file).read_text(), f"{file}::{name}"


def test_nothing_is_left_to_be_filled_in():
    for path in [*PAGES, *ROOT.glob("configs/*.py"), *ROOT.glob("solojax/**/*.py")]:
        assert not re.search(
            r"\b(RESULT|RESULT_ROWS|DEMO_MINUTES|TODO|FIXME)\b", path.read_text()
        ), path
