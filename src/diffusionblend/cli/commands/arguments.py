"""What several commands take, and a command as the line that gives it again.

A field of a command is an option, unless it is `Placed`. Other annotations are short spellings of
an option. `groups` says under which heading of the help an option stands.
"""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias, TypeVar

from diffusionblend.errors import UsageError
from diffusionblend.io.toml import split_pairs

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_T = TypeVar("_T")

PLACE: Final = "known by its place, without a name"
Placed = Annotated[_T, PLACE]
Input = Placed[Path]
Output = Annotated[Path, "-o"]
OutputOrNone = Annotated[Path | None, "-o"]
Groups: TypeAlias = Mapping[str, tuple[str, ...]]


def method_options(steps: int | None, pairs: Sequence[str]) -> dict[str, object]:
    """Return the options of a method: those of `--set`, and the one that has a name of its own."""
    options: dict[str, object] = {**split_pairs(pairs)}
    if steps is None:
        return options
    if str(options.setdefault("steps", steps)) != str(steps):
        raise UsageError(f"--steps {steps}, --set steps={options['steps']}: disagree; keep one")
    return options


def check_not_input(option: str, output: Path, source: Path) -> None:
    """Raise UsageError if an output would replace the file that it is made from."""
    if output.resolve() == source.resolve():
        raise UsageError(f"--{option} {output}: is the input; give another name")


def spelled(parameter: str) -> str:
    """Return a parameter as an option spells it: `from_`, a word of Python, is "from"."""
    return parameter.strip("_").replace("_", "-")


def command_line(name: str, command: "DataclassInstance") -> str:
    """Return the line that gives the same command again, with names of files for their paths."""
    words = ["diffusionblend", name]
    for field in dataclasses.fields(command):
        value = getattr(command, field.name)
        option = spelled(field.name)
        values = value if isinstance(value, tuple) else (value,)
        if PLACE in getattr(field.type, "__metadata__", ()):
            words += map(_word, values)
        elif isinstance(value, bool):
            words += [f"--{option}" if value else f"--no-{option}"] * (value != field.default)
        elif value != field.default:
            words += [f"--{option}", *map(_word, values)]
    return shlex.join(words)


def _word(value: object) -> str:
    return value.name if isinstance(value, Path) else str(value)
