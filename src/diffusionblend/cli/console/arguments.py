"""What a command takes, read off its dataclass: for parsing, errors, files, help and shells."""

import dataclasses
import functools
import inspect
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Annotated, Any

from cyclopts import App, Argument, ArgumentCollection, Parameter, Token

from diffusionblend.cli.commands.arguments import PLACE
from diffusionblend.cli.commands.wording import in_options

Values = Mapping[str, Sequence[str]]
NONE: Mapping[str, Any] = MappingProxyType({})

SET = "set"
"""The name of options that take `OPTION=VALUE`; `parsing` puts one before each of them."""
_CONFIG = "File of options (.toml); options on the line take precedence."
_KINDS: dict[Any, tuple[str, str]] = {
    int: ("INT", "a whole number"),
    float: ("FLOAT", "a number"),
    str: ("TEXT", "a text"),
    Path: ("PATH", "a path"),
    bool: ("", "true or false"),
    tuple[str, ...]: ("TEXT ...", "texts"),
    tuple[int, ...]: ("INT ...", "whole numbers"),
    tuple[Path, ...]: ("PATH ...", "paths"),
}
"""What help and errors call values of a type."""


def application(
    name: str, command: type, about: Mapping[str, str] = NONE, values: Values = NONE
) -> App:
    """Return the application of cyclopts that makes one command of words.

    It asks for nothing: `parse` names everything that is missing at once.

    Args:
        name: The verb.
        command: Its dataclass.
        about: What each field means, where help is needed.
        values: Values of texts, for completion.
    """

    def make(**given: Any) -> Any:  # noqa: ANN401 - any command
        return command(**given)

    config = inspect.Parameter(
        "config",
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[Path, Parameter(help=_CONFIG)],
    )
    taken = [_parameter(field, about, values) for field in dataclasses.fields(command)]
    taken = sorted([*taken, config], key=lambda parameter: parameter.kind)
    make.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]
    return App(
        name=name,
        help=inspect.getdoc(command),
        default_command=make,
        default_parameter=Parameter(negative_iterable=(), allow_repeating=True),
        help_flags=(),
        version_flags=(),
    )


def _parameter(
    field: "dataclasses.Field[Any]", about: Mapping[str, str], values: Values
) -> inspect.Parameter:
    extras = getattr(field.type, "__metadata__", ())
    kind = _without_none(typing.get_args(field.type)[0] if extras else field.type)
    said = Parameter(
        alias=[extra for extra in extras if extra != PLACE],
        converter=_whole if kind is int else None,
        consume_multiple=field.name != SET,
        choices=values.get(field.name),
        help=about.get(field.name),
    )
    how = inspect.Parameter.POSITIONAL_ONLY if PLACE in extras else inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(field.name, how, default=None, annotation=Annotated[kind, said])


def _without_none(hint: Any) -> Any:  # noqa: ANN401 - a type, or what stands for one
    """Return T of `T | None`: that an option is not given is not said by a word."""
    kinds = typing.get_args(hint)
    return next(kind for kind in kinds if kind is not NoneType) if NoneType in kinds else hint


def _whole(_: type, tokens: Sequence[Token]) -> int:
    """Convert a whole number; cyclopts alone would round 3.5."""
    return int(tokens[-1].value)


@functools.cache
def arguments_of(command: type) -> ArgumentCollection:
    """Return the arguments of a command, in order."""
    return application("", command).assemble_argument_collection()


def meanings(command: type) -> dict[str, str]:
    """Return the text below each field of a command, in one line."""
    read = App(default_command=command).assemble_argument_collection(parse_docstring=True)
    said = {a.field_info.name: " ".join((a.parameter.help or "").split()) for a in read}
    return {name: in_options(text, command) for name, text in said.items()}


def defaults(command: type) -> dict[str, Any]:
    """Return the value of each field if it is not given; `dataclasses.MISSING` if it must be."""
    return {field.name: field.default for field in dataclasses.fields(command)}


def missing(command: type, given: Mapping[str, Any]) -> list[str]:
    """Return what must be given and is not, as errors call it."""
    named = {a.field_info.name: a.name for a in arguments_of(command)}
    needed = [name for name, value in defaults(command).items() if value is dataclasses.MISSING]
    return [named[name] for name in needed if name not in given]


def flags(command: type) -> list[str]:
    """Return every spelling of every option of a command."""
    return [n for a in arguments_of(command) if a.index is None for n in a.names] + ["--help"]


def expected(argument: Argument) -> str:
    """Return what an error says of the values of an argument."""
    choices = argument.get_choices()
    if choices:
        return " or ".join([", ".join(choices[:-1]), choices[-1]])
    return "OPTION=VALUE" if argument.field_info.name == SET else _KINDS[argument.hint][1]


def metavar(argument: Argument) -> str:
    """Return what help calls the value of an option."""
    choices = argument.get_choices()
    if choices:
        return "{" + ",".join(choices) + "}"
    return "OPTION=VALUE ..." if argument.field_info.name == SET else _KINDS[argument.hint][0]
