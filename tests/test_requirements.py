"""Claims about what is installed."""

import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

from tests.test_architecture import MODULES, imports_of

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
NOT_ITS_NAME = {"skimage": "scikit-image"}  # module of an extra -> its package


def names(requirements: list[str]) -> set[str]:
    """Those of the packages, as the index writes them."""
    packages = [re.match(r"[\w.-]+", requirement)[0] for requirement in requirements]
    return {re.sub(r"[-_.]+", "-", package).lower() for package in packages}


def test_requirements_are_those_of_the_package_and_of_its_tests():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    listed = [line.partition("#")[0].strip() for line in lines]
    assert sorted(filter(None, listed)) == sorted(PROJECT["dependencies"] + EXTRAS["test"])


def test_the_package_asks_for_what_it_imports_and_for_no_tools_of_tests():
    packages_of = importlib.metadata.packages_distributions()
    imported = {name.partition(".")[0] for path in MODULES for name in imports_of(path)}
    third_party = imported - set(sys.stdlib_module_names) - {"solojax"}
    asked, extras = (
        names(PROJECT["dependencies"]),
        names(
            [
                *EXTRAS["wandb"],
                *EXTRAS["mlflow"],
                *EXTRAS["track"],
                *EXTRAS["supervision"],
                *EXTRAS["heif"],
                *EXTRAS["hub"],
                *EXTRAS["onnx"],
                *EXTRAS["superpixels"],
            ]
        ),
    )
    used = set()
    for module in third_party:
        packages = names(packages_of.get(module, [NOT_ITS_NAME.get(module, module)]))
        assert packages & (asked | extras), module
        used |= packages
    # TFDS imports the one, and TensorFlow the other to write summaries.
    assert asked - used == {"importlib-resources", "tensorboard"}
