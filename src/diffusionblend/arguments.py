"""Arguments of a wrong type are refused in one sentence: they are checked against annotations.

It is done where a caller enters the package: for its public functions by `checked`, for what a
caller makes of its own, such as a scan, by `check_fields`. Only types are looked at; what a value
may be is for the function to say. Numbers of other libraries become Python's own here: files cannot
store those of NumPy or torch, and the first file may be written hours later.
"""

import functools
import inspect
import operator
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sized
from typing import Annotated, Any, Literal, ParamSpec, SupportsFloat, TypeVar

import msgspec

from diffusionblend.errors import InvalidValue, UsageError

P = ParamSpec("P")
R = TypeVar("R")
_UNIONS = (typing.Union, types.UnionType)
_NUMBERS: dict[type, Callable[[Any], Any]] = {bool: bool, int: operator.index, float: float}
"""What makes numbers of Python of those of other libraries, and refuses what is none."""
_WORDS = {
    str: "text",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    type(None): "None",
    os.PathLike: "a path",
    Any: "anything",
    Callable: "a function",
}
_NAMED = {
    "ndarray": "a NumPy array",
    "Tensor": "a torch tensor",
    "HasVolume": "a Reconstruction",
}
"""Types in the words of those who give them; what is not here is named as it is."""
_ON_DISK = "write it with `save`, `write_volume` or `write_scan`, and give the name of the file"
_ON_A_GRID = "make one: Volume(array, Grid.from_spacing(array.shape, (z, y, x) in mm))"


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Return a public function that first looks at the types of its arguments."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> R:
        try:
            given = signature.bind(*args, **options)
        except TypeError:  # Python says better itself what is missing or unknown
            return function(*args, **options)
        plain = _checked(given.arguments, _hints(function), function.__name__, UsageError)
        given.arguments.update(plain)
        return function(*given.args, **given.kwargs)

    call.__module__ = __package__  # where it can be found again, for instance by pickle
    return call


def check_fields(made: object) -> None:
    """Check the types of the fields of a dataclass or structure, in its `__post_init__`."""
    cls: Any = type(made)
    given = {name: getattr(made, name) for name in _hints(cls)}
    for name, value in _checked(given, _hints(cls), cls.__name__, InvalidValue).items():
        if value is not given[name]:
            _set(made, name, value)


def _set(made: object, name: str, value: object) -> None:
    """Set a field of a frozen object while it is being made."""
    if isinstance(made, msgspec.Struct):
        msgspec.structs.force_setattr(made, name, value)
    else:
        object.__setattr__(made, name, value)


def _checked(
    given: Mapping[str, object],
    hints: Mapping[str, Any],
    taker: str,
    error: type[UsageError],
) -> dict[str, object]:
    """Return what was given, with Python's own numbers; raise an error if a type does not fit."""
    for name, value in given.items():
        if name in hints and not _fits(value, hints[name]):
            plain = value is None or isinstance(value, str | int | float)
            shown = f"`{name}={value!r}`" if plain else f"`{name}` is a {type(value).__name__}"
            cure = _cure(value, hints[name])
            raise error(f"{shown}: {taker} expects {_in_words(hints[name])}{cure}")
    return {n: _plain(value, hints[n]) if n in hints else value for n, value in given.items()}


def _plain(value: Any, hint: Any) -> Any:  # noqa: ANN401 - an annotation
    """Return a value that fits a type, with Python's own numbers and tuples in place of others."""
    origin, within = typing.get_origin(hint), typing.get_args(hint)
    if origin in _UNIONS:
        return _plain(value, next(each for each in within if _fits(value, each)))
    if origin is Annotated:
        return _plain(value, within[0])
    if hint in (int, float, bool):
        return value if type(value) is hint else _NUMBERS[hint](value)
    if origin is tuple:
        if type(value) is tuple and len({*map(type, value), *within} - {...}) == 1:
            return value
        kinds = within[:1] * len(value) if within[-1] is ... else within
        return tuple(_plain(each, kind) for each, kind in zip(value, kinds, strict=True))
    return value


def _cure(value: object, hint: Any) -> str:  # noqa: ANN401 - an annotation
    """Return the end of the sentence where a value is nearly what is expected."""
    expected = _in_words(hint)
    if "a path" in expected and type(value).__name__ in ("Reconstruction", "Volume", "Scan"):
        return f"; {_ON_DISK}" if "a Volume" not in expected else ""
    if "a Volume" in expected and hasattr(value, "__array__"):
        return f"; {_ON_A_GRID}"
    if expected.startswith("a function") and isinstance(value, str):
        return ", not its name"
    return ""


@functools.cache
def _hints(annotated: Any) -> dict[str, Any]:  # noqa: ANN401 - a function or a class
    """Return the annotations of a function's parameters or a class's fields, without `**`."""
    hints = typing.get_type_hints(annotated)
    several = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = inspect.signature(annotated).parameters.values()
    return {p.name: hints[p.name] for p in parameters if p.name in hints and p.kind not in several}


def _fits(value: object, hint: Any) -> bool:  # noqa: ANN401 - an annotation
    """Return whether a value is of a type; containers are looked into."""
    origin, within = typing.get_origin(hint), typing.get_args(hint)
    if origin in _UNIONS:
        return any(_fits(value, each) for each in within)
    if origin is Annotated:
        return _fits(value, within[0])
    if origin is Literal:
        return isinstance(value, tuple({type(each) for each in within}))
    if hint in (int, float, bool):
        return type(value) is hint or _fits_number(value, hint)
    if origin is not None:
        return _fits_container(value, origin, within)
    return _fits_class(value, hint)


def _fits_number(value: object, hint: type) -> bool:
    """Return whether a number of NumPy, torch or another library is of a type."""
    if hint is bool and type(value).__name__.startswith("bool"):
        return True
    if (
        isinstance(value, str)
        or not isinstance(value, SupportsFloat)
        or getattr(value, "ndim", 0) != 0
    ):
        return False
    try:
        _NUMBERS[float if hint is float else int](value)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # such as a complex tensor
        return False
    return True


def _fits_container(value: object, origin: type, within: tuple[Any, ...]) -> bool:
    if issubclass(origin, Mapping) or not issubclass(origin, Iterable):
        return isinstance(value, origin) and _fit_pairs(value, within)
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        return False
    if not isinstance(value, Sized):  # an iterator: looked into, it would be spent
        return not issubclass(origin, tuple)
    if origin is tuple and within[-1] is not ... and len(value) != len(within):
        return False
    kinds = [kind for kind in within if kind is not ...]
    if len({*map(type, value), *kinds}) == 1:  # of many numbers
        return True
    return all(any(_fits(each, kind) for kind in kinds) for each in value)


def _fit_pairs(value: object, within: tuple[Any, ...]) -> bool:
    """Return whether keys and values are of their types, if it has such."""
    pairs = value.items() if isinstance(value, Mapping) else ()
    return all(_fits(part, kind) for pair in pairs for part, kind in zip(pair, within, strict=True))


def _fits_class(value: object, hint: Any) -> bool:  # noqa: ANN401 - an annotation
    if hint is Any or not inspect.isclass(hint):
        return True
    if getattr(hint, "_is_protocol", False):
        return all(hasattr(value, name) for name in vars(hint) if not name.startswith("_"))
    if hint.__name__ in ("ndarray", "Tensor"):  # what becomes one
        return hasattr(value, "__array__") or isinstance(value, list | tuple)
    return isinstance(value, hint)


def _in_words(hint: Any) -> str:  # noqa: ANN401 - an annotation
    origin, within = typing.get_origin(hint), typing.get_args(hint)
    if origin in _UNIONS:
        return " or ".join(dict.fromkeys(map(_in_words, within)))
    if origin is Annotated:
        return _in_words(within[0])
    if origin is Literal:
        return " or ".join(map(repr, within))
    if origin is not None and issubclass(origin, Iterable) and not issubclass(origin, Mapping):
        kinds = _in_words(within[0]).split(" or ")
        return f"several {' or '.join(kind.removeprefix('a ') + 's' for kind in kinds)}"
    known = hint if origin is None else origin
    name = getattr(known, "__name__", known)
    return _WORDS.get(known) or _NAMED.get(name) or f"a {name}"
