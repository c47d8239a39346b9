"""Looks for known holes in what is installed, and says of how much the registry told nothing.

pip-audit alone calls an environment clean where a mirror of the registry answers no question. A
hole that is known, and does not reach us, stands in ``ACCEPTED`` with the reason.
"""

import json
import subprocess
import sys

ACCEPTED: dict[str, str] = {}  # id of the hole -> why it does not reach us


def main() -> int:
    """Prints what was found; 1 where a package has a hole that is known."""
    command = [sys.executable, "-m", "pip_audit", "--skip-editable", "--format", "json"]
    asked = subprocess.run(
        [*command, "--progress-spinner", "off"], capture_output=True, text=True, check=False
    )
    if not asked.stdout.strip():  # no registry at all
        last = (asked.stderr.strip() or "it said nothing").splitlines()[-1]
        print(f"audit: pip-audit could ask nobody: {last}")
        return 0
    packages = json.loads(asked.stdout)["dependencies"]
    unknown = [one for one in packages if "skip_reason" in one]
    holes = [
        f"{one['name']} {one['version']}: {hole['id']}, mended in "
        f"{', '.join(hole['fix_versions']) or 'no version yet'}"
        for one in packages
        for hole in one.get("vulns", [])
        if hole["id"] not in ACCEPTED
    ]
    for hole in holes:
        print(f"audit: {hole}")
    print(
        f"audit: {len(holes)} known holes in {len(packages) - len(unknown)} packages; "
        f"the registry says nothing of {len(unknown)}"
    )
    return 1 if holes else 0


if __name__ == "__main__":
    sys.exit(main())
