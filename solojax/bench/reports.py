"""Reports: as files, and one beside another."""

import json
from pathlib import Path
from typing import Any

from solojax import writing
from solojax.types import InputError


def write(path: Path, report: dict[str, Any]) -> None:
    """Writes what was measured."""
    writing.put(path, json.dumps(report, indent=1).encode())


def against(report: dict[str, Any], path: Path) -> str:
    """A table of this report beside the one in a file, for people.

    Raises:
      InputError: the file is no report.
    """
    try:
        earlier = json.loads(path.read_text())
        return table(earlier, report)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no report of solojax bench: {error}") from error


def table(earlier: dict[str, Any], later: dict[str, Any]) -> str:
    """The rows that both have, by section and name: seconds, operations and memory as ratios.

    Above 1 is more than before. A difference within the quartiles of either is marked as none.
    """
    lines = [f"  {'':46} {'ms before':>9} {'now':>9} {'ratio':>6} {'GFLOP':>6} {'MiB':>6}"]
    for section, rows in later["sections"].items():
        known = {row["name"]: row for row in earlier["sections"].get(section, ())}
        for row in rows:
            old = known.get(row["name"], {"fails": ""})
            if "fails" in row or "fails" in old:
                continue
            before, now = old["seconds"], row["seconds"]
            same = before["low"] <= now["median"] <= before["high"] or (
                now["low"] <= before["median"] <= now["high"]
            )
            lines.append(
                f"  {section + ': ' + row['name']:46} {1000 * before['median']:9.3f} "
                f"{1000 * now['median']:9.3f} {now['median'] / before['median']:6.2f} "
                f"{_ratio(old, row, 'flops')} {_ratio(old, row, 'memory')}"
                f"{'  within the quartiles' if same else ''}"
            )
    if len(lines) == 1:
        return "no row is in both reports"
    differing = [
        f"{name} {earlier[name]} then, {later[name]} now"
        for name in ("canvas", "precision", "versions", "devices")
        if earlier[name] != later[name]
    ]
    return "\n".join([*(f"not the same: {one}" for one in differing), *lines])


def _ratio(old: dict[str, Any], new: dict[str, Any], name: str) -> str:
    return f"{new[name] / old[name]:6.2f}" if old.get(name) and name in new else f"{'':6}"
