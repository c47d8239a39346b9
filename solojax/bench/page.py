"""What an accelerator came to, as a page of Markdown for docs/performance.md."""

from typing import Any

from solojax.bench import numerics, rows

COLUMNS = (
    *("what", "ms", "quartiles", "images/s", "at most", "of that"),
    *("PyTorch, images/s", "ratio", "MiB", "compiling, s"),
)


def page(report: dict[str, Any]) -> str:
    """Of what ``accelerator.bench`` gives.

    "At most" is what the operations of the program would allow at the rate of a product of two
    matrices that was measured beside it.
    """
    devices, versions = report["devices"], report["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [
        f"### {devices['kind']}, {report['when'][:10]}",
        "",
        f"{devices['count']} x {devices['kind']} ({devices['platform']}); {named}. A product of "
        f"matrices of bfloat16 makes {report['product_rate'] / 1e12:.3g} TFLOP/s, of float32 "
        f"{report['product_rate_float32'] / 1e12:.3g}. Command: `make bench-accelerator`.",
    ]
    for name, found in report["networks"].items():
        twin = {row["name"]: row for row in report["twin"].get(name, ())}
        lines += ["", f"**{name}**, bfloat16", "", _row(COLUMNS), _row("---" for _ in COLUMNS)]
        lines += [_row(_cells(row, twin, report["product_rate"])) for row in found["rows"]]
        if found["numerics"]:
            lines += ["", _numbers(found["numerics"])]
    if report["skipped"]:
        lines += ["", f"No time was left for all of: {'; '.join(report['skipped'])}."]
    return "\n".join([*lines, ""])


def _row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(row: rows.Row, twin: dict[str, rows.Row], rate: float) -> list[str]:
    if "fails" in row:
        return [row["name"], row["fails"], *[""] * (len(COLUMNS) - 2)]
    times, speed = row["seconds"], row["images_per_second"]
    cells = [
        row["name"],
        f"{1000 * times['median']:.3g}",
        f"{1000 * times['low']:.3g} to {1000 * times['high']:.3g}",
        f"{speed:,.1f}",
    ]
    most = rate * row["images"] / row["flops"] if row.get("flops") else None
    cells += [f"{most:,.0f}", f"{speed / most:.0%}"] if most else ["", ""]
    other = twin.get(row["name"], {}).get("images_per_second")
    cells += [f"{other:,.1f}", f"{speed / other:.2f}"] if other else ["", ""]
    cells.append(f"{row['memory'] / 2**20:,.0f}" if "memory" in row else "")
    cells.append(f"{row['compile_seconds']:.0f}" if "compile_seconds" in row else "")
    return cells


def _numbers(found: numerics.Distances) -> str:
    told = "; ".join(
        f"{precision}: " + ", ".join(f"{kind} {value:.1e}" for kind, value in one.items())
        for precision, one in found.items()
    )
    broken = numerics.broken(found)
    verdict = f"beyond the bounds: {'; '.join(broken)}" if broken else "all within the bounds"
    return f"Distance from the CPU's float32, of the size of what is compared: {told}; {verdict}."
