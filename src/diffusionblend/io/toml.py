"""TOML that people write: recipes, read into structs that say what they may hold, and options."""

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from diffusionblend.errors import CorruptInput, UsageError
from diffusionblend.io.files import check_texts, naming, read_small

MAX_BYTES = 2**22
"""Of what people write; more takes long to read."""
_Struct = TypeVar("_Struct", bound=msgspec.Struct)


def read_table(path: Path, what: str) -> dict[str, Any]:
    """Read a file of TOML.

    Args:
        path: The file.
        what: What it should hold, for the error: `a recipe`.
    """
    try:
        table = tomllib.loads(read_small(path, MAX_BYTES, what).decode())
    except OSError as error:
        raise CorruptInput(f"{path}: {error.strerror}; expected {what} in TOML") from error
    except (ValueError, RecursionError) as error:  # no TOML, or no UTF-8
        raise CorruptInput(f"{path}: not valid TOML ({error}); repair it") from error
    with naming(path):
        check_texts(_texts(table))
    return table


def read_toml(path: Path, kind: type[_Struct], changes: Sequence[str] = ()) -> _Struct:
    """Read a recipe of any kind.

    Args:
        path: Its file.
        kind: Its struct.
        changes: `key=value`, with dots for keys of tables (`budget.steps=100`) and values in TOML;
            what is not TOML is text.
    """
    table = read_table(path, "a recipe")
    for key, value in split_pairs(changes, "budget.steps=100").items():
        _change(table, key, value)
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        blamed = f"{' '.join(changes)}, or " if changes else ""
        raise UsageError(f"{blamed}{path}: {error}; see the recipes of the project") from error


def _texts(value: object) -> Iterator[str]:
    """Yield the keys and texts of a table, and of what is in it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _texts([*value, *value.values()])
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def _change(table: dict[str, Any], key: str, value: str) -> None:
    """Put a value into a table of tables; an unknown key is refused later."""
    *path, last = key.split(".")
    for name in path:
        inner = table.setdefault(name, {})
        if not isinstance(inner, dict):
            raise UsageError(f"{key}={value}: {name} is not a table; give its whole value")
        table = inner
    try:
        table[last] = tomllib.loads(f"value = {value}")["value"]
    except ValueError:
        table[last] = value
    with naming(f"{key}={value}"):
        check_texts(_texts(table[last]))


def split_pairs(pairs: Sequence[str], example: str = "eta=0.5") -> dict[str, str]:
    """Split the `option=value` pairs that a user gives; of two with one name the last counts."""
    split = [pair.partition("=") for pair in pairs]
    for pair, (option, equals, _) in zip(pairs, split, strict=True):
        if not (option and equals):
            raise UsageError(f"{pair}: expected OPTION=VALUE, for instance {example}")
    return {option: value for option, _, value in split}
