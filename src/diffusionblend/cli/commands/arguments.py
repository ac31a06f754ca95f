"""Arguments that several commands have, and commands as text."""

import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Output = Annotated[Path, tyro.conf.arg(aliases=["-o"])]
Input = tyro.conf.Positional[Path]
Changes = Annotated[tuple[str, ...], tyro.conf.arg(metavar="OPTION=VALUE ...")]


def command_line(name: str, command: "DataclassInstance") -> str:
    """Return the line that gives the same command again, with names of files for their paths."""
    words = ["diffusionblend", name]
    for field in dataclasses.fields(command):
        value = getattr(command, field.name)
        option = field.name.replace("_", "-")
        values = value if isinstance(value, tuple) else (value,)
        if field.default is dataclasses.MISSING and field.name != "output":
            words += map(_word, values)
        elif isinstance(value, bool):
            words += [f"--{option}" if value else f"--no-{option}"] * (value != field.default)
        elif value != field.default:
            words += [f"--{option}", *map(_word, values)]
    return shlex.join(words)


def _word(value: object) -> str:
    return value.name if isinstance(value, Path) else str(value)
