"""The methods by name.

Another package adds its own by an entry point of the group `diffusionblend.methods`: the method's
name there, and the class.
"""

import itertools
from collections.abc import Callable
from typing import TypeVar

from diffusionblend.errors import UsageError, did_you_mean
from diffusionblend.methods.method import Method
from diffusionblend.plugins import load, plugins

ENTRY_POINTS = "diffusionblend.methods"
_ALSO_CALLED = {"fdk": "fbp", "feldkamp": "fbp", "sart": "sirt"}
"""What users of other packages look for, and its name here."""
_METHODS: dict[str, type[Method]] = {}
_Class = TypeVar("_Class", bound=type[Method])


def register(name: str) -> Callable[[_Class], _Class]:
    """Register a class as a method."""

    def enter(cls: _Class) -> _Class:
        _METHODS[name] = cls
        return cls

    return enter


def methods() -> dict[str, type[Method]]:
    """Return the classes of this package's methods, by name."""
    return dict(sorted(_METHODS.items()))


def method_names() -> list[str]:
    """Return the names of all methods, those of other packages too."""
    return sorted({*_METHODS, *plugins(ENTRY_POINTS)})


def name_of(method: Method) -> str:
    """Return the name that a method has here; that of its class if it has none."""
    cls = type(method)
    ours = (name for name, known in _METHODS.items() if known is cls)
    others = (
        name
        for name, point in plugins(ENTRY_POINTS).items()
        if point.attr == cls.__qualname__ and _root(point.module) == _root(cls.__module__)
    )
    return next(itertools.chain(ours, others), cls.__name__)


def meant(name: str) -> str:
    """Return the end of an error about a name that no method has: what may be meant."""
    other = _ALSO_CALLED.get(name.lower())
    return did_you_mean(name, method_names()) if other is None else f"; did you mean {other}?"


def find_method(name: str) -> type[Method]:
    """Return a class of methods."""
    if name in _METHODS:
        return _METHODS[name]
    plugin = plugins(ENTRY_POINTS).get(name)
    if plugin is None:
        known = method_names()
        raise UsageError(f"`method={name!r}`: expected one of {', '.join(known)}{meant(name)}")
    cls = load(plugin, f"`method={name!r}`: {plugin.value}")
    if not (isinstance(cls, type) and issubclass(cls, Method)):
        raise UsageError(
            f"`method={name!r}`: {plugin.value} is not a subclass of "
            "diffusionblend.methods.Method; repair or remove the package that brings it"
        )
    return cls


def _root(module: str) -> str:
    return module.partition(".")[0]
