"""Findings are counted by kind, and name their first places."""

from solojax.data.findings import LISTED, Findings
from solojax.types import InputError


def test_equal_findings_are_counted_together():
    findings = Findings()
    for number in range(LISTED + 5):
        findings.add("lost", "instances skipped: no mask", f"annotation {number}", cure="draw it")
    findings.add("told", "classes without an instance", count=3)
    first, second = findings
    assert (first.effect, first.count, len(first.places)) == ("lost", LISTED + 5, LISTED)
    assert str(first).startswith("25 instances skipped: no mask (annotation 0, annotation 1, ")
    assert str(first).endswith("annotation 19, and 5 more); draw it")
    assert str(second) == "3 classes without an instance"


def test_a_strangers_name_ends_no_line_and_moves_no_cursor() -> None:
    name = "a\nb\r\x1b[2J\u2028\ud800c.jpg"
    findings = Findings()
    findings.add("lost", f"images of class {name}", name, cure=f"rename {name}")
    (found,) = findings
    for said in (str(found), str(InputError(f"{name} is no image"))):
        assert said.isprintable() and "a\\nb\\r\\x1b[2J\\u2028\\ud800c.jpg" in said
    assert str(InputError("a table", name, "of lines")).count("\n") == 2
