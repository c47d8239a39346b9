"""What pyproject.toml cannot say: people find the configs at the top, a wheel has them inside."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["solojax", "solojax.*"]), "solojax.configs"],
    package_dir={"solojax.configs": "configs"},
)
