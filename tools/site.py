"""Builds the site: the documents, the API reference from the docstrings, the pictures.

    python tools/site.py FOLDER

leaves it in ``FOLDER/site``. Needs the extra ``docs``. The pages lie in it as in the repository, so
that a link means the same in both; a file that one links to and that is no page comes along.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)")


def lay_out(pages: Path) -> None:
    """Copies the documents and whatever they link to."""
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        links = [page.parent / link for link in LINK.findall(page.read_text())]
        for source in (page, ROOT / "docs/site.css", *links):
            target = pages / source.resolve().relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def main(folder: Path) -> int:
    """Builds; 1 where there was anything to warn of."""
    shutil.rmtree(folder, ignore_errors=True)
    lay_out(folder / "pages")
    shutil.copyfile(ROOT / "docs/site.toml", folder / "zensical.toml")
    build = [sys.executable, "-m", "zensical", "build", "--strict"]
    return subprocess.run(build, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
