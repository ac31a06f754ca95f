"""Make methods from names and options, as given on the command line and in recipes."""

import dataclasses
import os
import typing
from collections.abc import Mapping
from typing import Any

import msgspec

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
        try:
            plain: Any = os.fspath(value) if isinstance(value, os.PathLike) else value
            if getattr(value, "ndim", None) == 0:  # a number of NumPy or torch
                plain = plain.item()
            chosen[option] = msgspec.convert(plain, kinds[option], strict=False)
        except msgspec.ValidationError as error:
            raise UsageError(f"`{option}={value!r}`: {str(error).lower()}") from error
    return cls(**chosen)


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
