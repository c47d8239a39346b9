"""Fills in the templates of the page."""

from pathlib import Path
from typing import Any

import jinja2


def fill(name: str, **values: Any) -> str:
    """The template of that name with values in it, as HTML; every text is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    return environment.get_template(f"{name}.html.jinja").render(values)


def _number(value: float) -> str:
    return "–" if value < 0 else f"{value:.3f}"  # pycocotools says -1 where there is nothing
