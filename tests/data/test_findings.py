"""Findings are counted by kind, and name their first places."""

from solojax.data.findings import LISTED, Findings


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
