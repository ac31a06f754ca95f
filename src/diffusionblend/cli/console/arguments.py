"""What a command takes, read off its dataclass: one list for help, errors, files and shells."""

import ast
import dataclasses
import functools
import inspect
import itertools
import textwrap
import types
import typing
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

_CONFIG = "File of options (.toml); what stands on the line wins over it."
_KINDS = {
    int: ("INT", "a whole number"),
    float: ("FLOAT", "a number"),
    str: ("TEXT", "a text"),
    Path: ("PATH", "a path"),
}
"""What help and errors call values of a type."""
_POSITIONAL = tyro.conf.Positional[int].__metadata__[0]  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Argument:
    """An argument of a command.

    Attributes:
        name: Name of the field.
        kind: Type of the value; of several values that of each.
        flags: What stands before the value, the long one first; none for what has its place.
        default: Value if it is not given; `dataclasses.MISSING` if it must be.
        many: Whether it takes several values.
        metavar: What help calls the value.
        help: What it means, in one line.
    """

    name: str
    kind: Any
    flags: tuple[str, ...]
    default: Any
    many: bool
    metavar: str
    help: str

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is MISSING

    @property
    def choices(self) -> tuple[str, ...]:
        """All values, if they are few."""
        return typing.get_args(self.kind) if typing.get_origin(self.kind) is Literal else ()

    @property
    def called(self) -> str:
        """What an error calls it."""
        return self.flags[0] if self.flags else self.name.upper()

    @property
    def expected(self) -> str:
        """What an error says of its values."""
        if self.choices:
            return " or ".join([", ".join(self.choices[:-1]), self.choices[-1]])
        return _KINDS[self.kind][1] if self.kind in _KINDS else "no value"

    @property
    def words(self) -> tuple[str, ...]:
        """All flags, with those that say no."""
        return (*self.flags, *(f"--no-{f[2:]}" for f in self.flags if self.kind is bool))


@functools.cache
def arguments_of(command: type) -> tuple[Argument, ...]:
    """Return the arguments of a command's dataclass, in order."""
    hints = typing.get_type_hints(command, include_extras=True)
    docs = _docs(command)
    return tuple(_argument(f, hints[f.name], docs) for f in dataclasses.fields(command))


def _argument(field: "dataclasses.Field[Any]", hint: object, docs: dict[str, str]) -> Argument:
    extras = getattr(hint, "__metadata__", ())
    aliases = [a for e in extras for a in getattr(e, "aliases", None) or ()]
    named = [e.metavar for e in extras if getattr(e, "metavar", None)]
    kind = _without_none(typing.get_args(hint)[0] if extras else hint)
    many = typing.get_origin(kind) is tuple
    kind = typing.get_args(kind)[0] if many else kind
    placed = _POSITIONAL in extras
    flags = () if placed else (f"--{field.name.replace('_', '-')}", *aliases)
    metavar = named[0] if named else _metavar(field.name if placed else "", kind)
    metavar = f"[{metavar}]" if placed and field.default is not MISSING else metavar
    about = docs.get(field.name, "")
    return Argument(field.name, kind, flags, field.default, many, metavar, about)


def _metavar(name: str, kind: object) -> str:
    """Return what help calls the value of an option, or of an argument with a name alone."""
    if _is_choice(kind):
        return "{" + ",".join(typing.get_args(kind)) + "}"
    return name.upper() or (_KINDS[kind][0] if kind in _KINDS else "")


def _is_choice(kind: object) -> bool:
    return typing.get_origin(kind) is Literal


def _without_none(hint: Any) -> Any:  # noqa: ANN401 - a type, or what stands for one
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return next(kind for kind in typing.get_args(hint) if kind is not type(None))
    return hint


def _docs(command: type) -> dict[str, str]:
    """Return the text below each field of a dataclass and of those it is made of."""
    found: dict[str, str] = {}
    for cls in reversed(command.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body  # type: ignore[attr-defined]
        for field, text in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                found[field.target.id] = " ".join(ast.literal_eval(text.value).split())  # type: ignore[union-attr]
    return found


def dressed(command: type) -> type:
    """Return a dataclass of a command for tyro: plain metavars and defaults, and `--config`."""
    hints = typing.get_type_hints(command, include_extras=True)
    fields = dataclasses.fields(command)
    shown: list[tuple[str, Any, Any]] = [
        (
            field.name,
            Annotated[
                hints[field.name],
                tyro.conf.arg(
                    metavar=None if argument.kind is bool else argument.metavar,
                    help=argument.help,
                    help_behavior_hint=_hint(argument),
                ),
            ],
            dataclasses.field(default=field.default, kw_only=field.kw_only),
        )
        for field, argument in zip(fields, arguments_of(command), strict=True)
    ]
    config = Annotated[
        Path | None, tyro.conf.arg(metavar="PATH", help=_CONFIG, help_behavior_hint="")
    ]
    shown.append(("config", config, dataclasses.field(default=None, kw_only=True)))
    return dataclasses.make_dataclass(
        command.__name__, shown, frozen=True, namespace={"__doc__": inspect.getdoc(command)}
    )


def _hint(argument: Argument) -> str:
    """Say of what happens if it is not given, where that is not plain."""
    if argument.required:
        return "(required)"
    if argument.default is True:
        return "(default: yes)"
    nothing = argument.default is None or argument.default is False or argument.default == ()
    return "" if nothing else f"(default: {argument.default})"
