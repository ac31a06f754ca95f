"""The help: plain text, wrapped at words, so wide as the terminal; options under headings."""

import dataclasses
import inspect
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from diffusionblend.cli.commands.arguments import Groups

if TYPE_CHECKING:
    from cyclopts import Argument

MOST_COLUMNS = 100
_NAMES = 22  # columns before what a name means
_ALWAYS: Groups = {"output": ("dry_run", "json"), "advanced": ("config",)}
"""What stands under these headings in every command."""

Commands = Mapping[str, Mapping[str, type]]


def overview(commands: Commands) -> str:
    """Return the help of the whole: a line for each command, in the order of use."""
    lines = ["usage: diffusionblend COMMAND ...", ""]
    lines += ["3D CT from few X-ray views with learned diffusion priors.", ""]
    for heading, some in commands.items():
        lines += [_bold(f"{heading}:"), *(_entry(n, summary(c), 13) for n, c in some.items()), ""]
    lines += ["diffusionblend help COMMAND says what a command takes."]
    lines += ["diffusionblend version says which version this is."]
    return "\n".join(lines)


def page(name: str, command: type) -> str:
    """Return the help of a command."""
    about, _, examples = (inspect.getdoc(command) or "").partition("\nExamples:\n")
    texts = [_filled(part) for part in about.split("\n\n")]
    if examples:
        texts.append(f"{_bold('examples:')}\n{textwrap.indent(textwrap.dedent(examples), '  ')}")
    headings = dict(_headings(command))
    inputs = " ".join(label for label, _ in headings.get("inputs", ()))
    usage = _filled(f"usage: diffusionblend {name} {inputs} [OPTIONS]".replace("  ", " "))
    for heading, entries in headings.items():
        lines = [_bold(f"{heading}:"), *(_entry(label, text, _NAMES) for label, text in entries)]
        texts.append("\n".join(lines))
    return "\n\n".join([usage, *(text.rstrip() for text in texts)])


def summary(command: type) -> str:
    """Return the first sentence of a command's help."""
    return " ".join((command.__doc__ or "").partition("\n\n")[0].split())


def _headings(command: type) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield what a command takes, with what it means: inputs, common options, further ones."""
    from diffusionblend.cli.console.arguments import arguments_of, defaults, meanings

    own: Groups = getattr(command, "groups", {})
    groups = {h: own.get(h, ()) + _ALWAYS.get(h, ()) for h in (*own, *_ALWAYS)}
    heading_of = {name: heading for heading, names in groups.items() for name in names}
    told = meanings(command)
    found: dict[str, list[tuple[str, str]]] = {h: [] for h in ("inputs", "options", *groups)}
    for argument in arguments_of(command):
        name = argument.field_info.name
        heading = "inputs" if argument.index is not None else heading_of.get(name, "options")
        default = defaults(command).get(name)
        text = told.get(name) or argument.parameter.help or ""
        found[heading].append((_label(argument, default), f"{text} {_hint(default)}".strip()))
    yield from ((heading, entries) for heading, entries in found.items() if entries)


def _label(argument: "Argument", default: object) -> str:
    """Return how an argument is spelled: `-o, --output PATH`, `--[no-]classical`, `SCAN`."""
    from diffusionblend.cli.console.arguments import metavar

    if argument.index is not None:
        return argument.name if default is dataclasses.MISSING else f"[{argument.name}]"
    if argument.hint is bool:
        return f"--[no-]{argument.name[2:]}" if default else argument.name
    return f"{', '.join(reversed(argument.names))} {metavar(argument)}"


def _hint(default: object) -> str:
    """Say what happens if it is not given, where that is not plain."""
    if default is dataclasses.MISSING:
        return "(required)"
    if default is True:
        return "(default: yes)"
    nothing = default is None or default is False or default == ()
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
    return "" if nothing else f"(default: {shown})"


def _entry(label: str, text: str, width: int) -> str:
    """Return a name and what it means, in two columns."""
    margin = " " * (width + 2)
    first = f"  {label:{width}}" if len(label) < width else f"  {label}\n{margin}"
    lines = _wrapped(text, _columns() - len(margin)) or [""]
    return (first + f"\n{margin}".join(lines)).rstrip()


def _filled(text: str) -> str:
    return "\n".join(_wrapped(text, _columns()))


def _wrapped(text: str, width: int) -> list[str]:
    words = " ".join(text.split())
    return textwrap.wrap(words, width, break_on_hyphens=False, break_long_words=False)


def _columns() -> int:
    return max(40, min(shutil.get_terminal_size().columns, MOST_COLUMNS))


def _bold(text: str) -> str:
    """Return a heading; bold on a terminal that knows how and has nothing against it."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if plain or not sys.stdout.isatty() else f"\x1b[1m{text}\x1b[0m"
