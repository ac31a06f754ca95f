"""`--config FILE.toml`: options from a file, put before those on the line, so that the line wins.

Keys are the names of options. A table `set` holds what `--set` would: `eta = 0.5` in it is
`--set eta=0.5`, and a table in it goes on with a dot, as in `--set budget.steps=100`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from diffusionblend.cli.console.arguments import Argument, arguments_of
from diffusionblend.errors import UsageError, did_you_mean
from diffusionblend.io.toml import read_table

OPTION = "--config"
SET = "set"
Table = dict[str, Any]


def with_config(name: str, command: type, words: Sequence[str]) -> list[str]:
    """Return the words behind a verb with those of its file of options before them.

    Args:
        name: The verb.
        command: Its dataclass.
        words: What stands behind the verb.

    Raises:
        UsageError: The file says something that the verb does not take.
        CorruptInput: It is missing, or is no TOML.
    """
    rest, path = _taken(words)
    if path is None:
        return rest
    table = read_table(path, "options")
    known = {a.name: a for a in arguments_of(command)}
    changes = table.pop(SET, {})
    if changes and SET not in known:
        raise UsageError(f"{path}: [set]: {name} has no --set")
    if not isinstance(changes, dict):
        raise UsageError(f"{path}: set: expected a table, [set], with a line for each option")
    found = [_words(path, name, key, value, known) for key, value in table.items()]
    single = [word for argument, some in found if not argument.many for word in some]
    # What takes many values would take what has its place, too, if it stood before that.
    many = [w for argument, some in found if argument.many and some[0] not in rest for w in some]
    pairs = [f"{key}={value}" for key, value in _flat(changes)]
    return single + _with_set(rest, pairs) + many


def _taken(words: Sequence[str]) -> tuple[list[str], Path | None]:
    """Take `--config FILE` out of the words."""
    rest, path = list(words), None
    for index, word in enumerate(words):
        if word == OPTION or word.startswith(f"{OPTION}="):
            pair = words[index : index + 2] if word == OPTION else word.split("=", 1)
            if len(pair) < 2:
                raise UsageError(f"{OPTION}: needs a value; expected a path")
            if path is not None:
                raise UsageError(f"{OPTION} {pair[1]}: stands there twice; give one file")
            path = Path(pair[1])
            del rest[index : index + (2 if word == OPTION else 1)]
    return rest, path


def _words(
    path: Path,
    name: str,
    key: str,
    value: Any,  # noqa: ANN401 - whatever TOML can say
    known: dict[str, Argument],
) -> tuple[Argument, list[str]]:
    """Return an option of a file as an argument and its words."""
    argument = known.get(key.replace("-", "_"))
    if argument is None:
        near = did_you_mean(key, [n for n, a in known.items() if a.flags])
        raise UsageError(f"{path}: {key}: {name} has no such option{near}")
    if not argument.flags:
        raise UsageError(f"{path}: {key}: stands on the line, not in a file of options")
    _check(path, key, value, argument)
    flag = argument.flags[0]
    if argument.kind is bool:
        return argument, [flag if value else f"--no-{flag[2:]}"]
    return argument, [flag, *map(str, value)] if argument.many else [f"{flag}={value}"]


def _check(path: Path, key: str, value: object, argument: Argument) -> None:
    kind: Any = str if argument.kind is Path else argument.kind
    try:
        msgspec.convert(value, list[kind] if argument.many else kind)
    except msgspec.ValidationError as error:
        found = msgspec.json.encode(value, enc_hook=str).decode()
        what = "true or false" if kind is bool else argument.expected
        what = f"a list, each {what}" if argument.many else what
        nearest = did_you_mean(str(value), argument.choices)
        raise UsageError(f"{path}: {key} = {found}: expected {what}{nearest}") from error


def _flat(table: Table, before: str = "") -> Iterator[tuple[str, str]]:
    """Yield the values of a table of tables, as text, with names joined by dots."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.")
        else:
            text = value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str)
            yield before + key, text if isinstance(text, str) else text.decode()


def _with_set(words: list[str], pairs: list[str]) -> list[str]:
    """Put `option=value` pairs before those on the line: of two the last one counts."""
    if not pairs:
        return words
    for index in reversed(range(len(words))):
        before, flag, behind = words[:index], words[index], words[index + 1 :]
        if flag == "--set":
            return [*before, flag, *pairs, *behind]
        if flag.startswith("--set="):  # what stands behind it is not its own
            return [*before, *behind, "--set", *pairs, flag.removeprefix("--set=")]
    return [*words, "--set", *pairs]
