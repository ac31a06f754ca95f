"""Numbers out of the dictionaries and objects of other packages, checked."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from diffusionblend.errors import CorruptInput


def as_mapping(stated: Any) -> Mapping[str, Any]:  # noqa: ANN401 - an object of another package
    """Return an object's attributes, or a dictionary as it is."""
    if isinstance(stated, Mapping):
        return stated
    if not hasattr(stated, "__dict__"):
        raise CorruptInput(f"got {_short(stated)}; expected a geometry, or its dictionary")
    return vars(stated)


def number(stated: Mapping[str, Any], name: str, default: float | None = None) -> float:
    """Return a number."""
    return float(numbers(stated, name, (1,), None if default is None else [default])[0])


def numbers(
    stated: Mapping[str, Any],
    name: str,
    shape: tuple[int, ...],
    default: Any = None,  # noqa: ANN401 - whatever numpy takes
) -> np.ndarray:
    """Return numbers in an array of a shape, in which -1 is any length."""
    value = stated.get(name)
    value = default if value is None else value
    try:
        array = np.asarray(value, dtype=np.float64).reshape(shape)
    except (TypeError, ValueError) as error:
        comma = isinstance(value, str) and re.fullmatch(r"[+-]?\d+,\d+", value.strip())
        point = ", with a decimal point: write it so in a copy" if comma else ""
        raise CorruptInput(f"{name} is {_short(value)}; expected {_words(shape)}{point}") from error
    if not array.size or not np.isfinite(array).all():
        raise CorruptInput(f"{name} is {_short(value)}; expected {_words(shape)}, all finite")
    return array


def for_each(
    stated: Mapping[str, Any],
    name: str,
    views: int,
    each: int,
    default: Any = None,  # noqa: ANN401 - whatever numpy takes
) -> np.ndarray:
    """Return numbers for each view (views, each); one set of them may hold for all views."""
    found = numbers(stated, name, (-1,), default)
    if found.size not in (each, each * views):
        raise CorruptInput(
            f"{name} has {found.size} numbers for {views} views; expected {each}, or {each} for "
            "each view"
        )
    return np.broadcast_to(found.reshape(-1, each), (views, each))


def count(stated: Mapping[str, Any], name: str, default: float | None = None) -> int:
    """Return a whole number of 1 or more."""
    value = number(stated, name, default)
    if value != int(value) or not 1 <= value < 2**31:
        raise CorruptInput(f"{name} is {value:g}; expected a whole number, 1 or more")
    return int(value)


def _short(value: object) -> str:
    return "missing" if value is None else repr(value)[:40]


def _words(shape: tuple[int, ...]) -> str:
    if shape == (1,):
        return "a number"
    return " x ".join("any number" if n < 0 else str(n) for n in shape) + " numbers"
