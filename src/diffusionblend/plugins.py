"""What other packages bring: entry points, by their group and name."""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from diffusionblend.errors import UsageError


def plugins(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by their names."""
    return {point.name: point for point in entry_points(group=group)}


def load(point: EntryPoint, words: str = "") -> Any:  # noqa: ANN401 - whatever another package brings
    """Return what an entry point names."""
    try:
        return point.load()
    except Exception as error:  # whatever another package does
        words = words or f"{point.name}: {point.value} of the group {point.group}"
        raise UsageError(
            f"{words} cannot be loaded ({error}); repair or remove the package that brings it"
        ) from error
