"""Claims about what an image is made of; `make check` lints the Dockerfile, `make image` builds."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_its_python_is_one_that_the_package_supports():
    version = re.search(r"^ARG PYTHON=(\S+)", DOCKERFILE, re.MULTILINE)[1]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"Programming Language :: Python :: {version}" in project["classifiers"]


def test_what_it_runs_are_targets_of_make():
    makefile = (ROOT / "Makefile").read_text()
    named = re.findall(r"make (?!&&)([.\w][\w/-]*)", DOCKERFILE)
    assert {".venv/installed", "demo", "test"} <= set(named)
    for target in named:
        assert f"\n{target}:" in makefile, target


def test_what_git_leaves_out_stays_out_of_an_image():
    left_out = (ROOT / ".dockerignore").read_text().splitlines()
    for line in (ROOT / ".gitignore").read_text().splitlines():
        name = line.strip("/")
        anywhere = "/" not in line.rstrip("/")  # to Git; to Docker a name is one at the top
        assert (f"**/{name}" if anywhere else name) in left_out, line
