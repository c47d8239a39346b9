"""Builds the site: the documents, the API reference from the docstrings, the pictures.

    python tools/site.py FOLDER

leaves it in ``FOLDER/site``. Needs the extra ``docs``. The pages lie in it as in the repository, so
that a link means the same in both; a file that one links to and that is no page comes along.
Notebooks become pages as they are stored, with their outputs.
"""

import base64
import json
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
    (pages / "docs").mkdir(parents=True)
    for notebook in ROOT.glob("docs/*.ipynb"):
        write_notebook(notebook, pages / "docs")
    shutil.copy(ROOT / "docs/site.css", pages / "docs")
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        text = page.read_text()
        (pages / page.relative_to(ROOT)).write_text(text.replace(".ipynb)", ".md)"))
        for link in LINK.findall(text):
            if not link.endswith((".md", ".ipynb")):
                shutil.copy(page.parent / link, pages / (page.parent / link).relative_to(ROOT))


def write_notebook(notebook: Path, folder: Path) -> None:
    """A notebook as Markdown, and its pictures."""
    parts = []
    for number, cell in enumerate(json.loads(notebook.read_text())["cells"]):
        text = "".join(cell["source"])
        parts.append(f"```python\n{text}\n```" if cell["cell_type"] == "code" else text)
        for place, output in enumerate(cell.get("outputs", ())):
            if picture := output.get("data", {}).get("image/jpeg"):
                name = f"{notebook.stem}_{number}_{place}.jpg"
                (folder / name).write_bytes(base64.b64decode(picture))
                parts.append(f"![What the code above draws]({name})")
            elif output.get("name") == "stdout":
                parts.append(f"```text\n{''.join(output['text'])}```")
    (folder / f"{notebook.stem}.md").write_text("\n\n".join(parts) + "\n")


def main(folder: Path) -> int:
    """Builds; 1 where there was anything to warn of."""
    shutil.rmtree(folder, ignore_errors=True)
    lay_out(folder / "pages")
    shutil.copyfile(ROOT / "docs/site.toml", folder / "zensical.toml")
    build = [sys.executable, "-m", "zensical", "build", "--strict"]
    return subprocess.run(build, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
