"""Make methods from names and options, as given on the command line and in recipes."""

import dataclasses
import os
import typing
from collections.abc import Mapping
from typing import Any

import msgspec
import torch

from diffusionblend.errors import UsageError, did_you_mean
from diffusionblend.methods.method import Method
from diffusionblend.methods.registry import find_method


def make_method(name: str, **options: object) -> Method:
    """Make a method with some of its options set.

    Args:
        name: The method, one of `method_names`.
        options: Its options, such as `steps=100`; text is read as the option's type.

    Raises:
        UsageError: There is no such method or option, or the value is not valid.
    """
    cls = find_method(name)
    known = list(option_defaults(cls))
    kinds = typing.get_type_hints(cls, include_extras=True)
    chosen = {}
    for option, value in options.items():
        if option not in known:
            has = f"it has {', '.join(known) or 'none'}{did_you_mean(option, known)}"
            raise UsageError(f"`{option}`: {name} has no such option; {has}")
        chosen[option] = converted(option, value, kinds[option])
    return cls(**chosen)


def converted(option: str, value: object, kind: Any) -> Any:  # noqa: ANN401 - an annotation
    """Return the value of an option as its type, which text is read as.

    Raises:
        UsageError: It is not of that type, or out of its range.
    """
    try:
        return msgspec.convert(as_plain(value), kind, strict=False)
    except msgspec.ValidationError as error:
        brief = value is None or isinstance(value, str | int | float)
        shown = f"`{option}={value!r}`" if brief else f"`{option}` is a {type(value).__name__}"
        raise UsageError(f"{shown}: {str(error).lower()}") from error


def as_plain(value: Any) -> Any:  # noqa: ANN401 - whatever is given
    """Return a path or a device as text, and a number of NumPy or torch as Python's: for files."""
    if isinstance(value, os.PathLike | torch.device):
        return str(value)
    return value.item() if getattr(value, "ndim", None) == 0 else value


def as_method(method: str | Method, options: Mapping[str, object]) -> Method:
    """Return a method that is given by its name and options, or is one already."""
    if isinstance(method, str):
        return make_method(method, **options)
    if options:
        raise UsageError(
            f"{', '.join(options)}: {method} already has its options; give the method by its name"
        )
    return method


def option_defaults(cls: type[Method]) -> dict[str, object]:
    """Return the options of a class of methods and their defaults."""
    return {field.name: field.default for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
