"""How many classes and labels a head knows."""

import dataclasses
from typing import Any


def of_classes(part: Any, num_classes: int, num_labels: int) -> Any:
    """A head, or what has heads among its fields, with so many classes and labels."""
    counts = {"num_classes": num_classes, "num_labels": num_labels}
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if field.name in counts:
            changes[field.name] = counts[field.name]
        elif dataclasses.is_dataclass(value) and field.name != "parent":
            changes[field.name] = of_classes(value, num_classes, num_labels)
    return dataclasses.replace(part, **changes)
