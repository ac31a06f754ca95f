"""Words of the library for a terminal: parameters of Python become options of a command.

The library names a parameter in backquotes and as Python has it: `steps=50`, `air_bins`. What else
is in backquotes stays as it is.
"""

import dataclasses
import re
import shlex
from collections.abc import Callable, Container

from diffusionblend.cli.commands.arguments import PLACE, spelled
from diffusionblend.io.projections.options import Options

_PARAMETER = re.compile(r"""`([a-z]\w*)(?:=('[^']*'|"[^"]*"|[^`]*))?`""")


def in_options(text: str, command: type, of_method: Callable[[], Container[str]] = tuple) -> str:
    """Return a text with options in place of the parameters that it names.

    `steps=50` becomes `--steps 50`, `classical=False` becomes `--no-classical`, and a parameter of
    the method, such as `eta=0.5`, becomes `--set eta=0.5`. An input is its value alone.

    Args:
        text: A message, a warning or a help of the library.
        command: The dataclass of the command that is run.
        of_method: Returns the names of what its method takes; called where a name is no option.
    """
    placed = _parameters(command)

    def spelled(match: re.Match[str]) -> str:
        name, value = match.groups()
        if name in placed:
            if not placed[name]:
                return _option(name, value)
            return name if value is None else _word(value)
        return f"--set {name}{_after('=', value)}" if name in of_method() else match[0]

    return _PARAMETER.sub(spelled, text)


def _parameters(command: type) -> dict[str, bool]:
    """Return the parameters of a command, and whether each is known by its place.

    What is said of a scan may name what to import it with.
    """
    fields = dataclasses.fields(command)
    own = {f.name: PLACE in getattr(f.type, "__metadata__", ()) for f in fields}
    of_scans = own.keys() & {"scan", "scans"}
    imported = {f.name: False for f in dataclasses.fields(Options)} if of_scans else {}
    return imported | own


def _option(name: str, value: str | None) -> str:
    option = spelled(name)
    if value == "False":
        return f"--no-{option}"
    return f"--{option}" if value == "True" else f"--{option}{_after(' ', value)}"


def _after(sign: str, value: str | None) -> str:
    return "" if value is None else sign + _word(value)


def _word(value: str) -> str:
    """Return a value as a shell has it; a text without the quotes of Python."""
    is_text = len(value) > 1 and value[0] in "'\"" and value[0] == value[-1]
    return shlex.quote(value[1:-1]) if is_text else value
