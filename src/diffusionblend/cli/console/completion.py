"""Scripts that complete verbs, options, choices and files in bash, zsh and fish.

They are read off the commands' dataclasses. tyro writes such scripts, too; its one for bash offers
no files where a command takes them without an option, and starts Python at each key.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from diffusionblend.cli.console.arguments import Argument, arguments_of

_SUMMARY = 60


def script(shell: str, commands: Mapping[str, type]) -> str:
    """Return the script of a shell, for the methods, priors and experiments there are now."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](commands)


def _values() -> Mapping[str, Callable[[], list[str]]]:
    """Return what lists the values that a text can have, by the name of the argument."""
    from diffusionblend.experiments.recipe import names
    from diffusionblend.methods import method_names
    from diffusionblend.prior import shipped_priors

    return {
        "method": method_names,
        "about": method_names,
        "prior": lambda: list(shipped_priors()),
        "name": lambda: [*names(), "all"],
        "device": lambda: ["auto", "cpu", "cuda"],
    }


def _choices(command: str, argument: Argument) -> list[str]:
    """Return the values to offer for an argument; none for numbers, files and free text."""
    if argument.name == "name" and command != "benchmark":
        return []
    free = argument.kind is str and _values().get(argument.name)
    return free() if free else list(argument.choices)


def _takes_files(argument: Argument) -> bool:
    return argument.kind is Path or argument.name in {"prior", "about", "name"}


def _options(command: type) -> Iterator[Argument]:
    """Yield the arguments of a command that have flags."""
    config = Argument("config", Path, ("--config",), None, False, "PATH", "File of options (.toml)")
    yield from (a for a in (*arguments_of(command), config) if a.flags)


def _bash(commands: Mapping[str, type]) -> str:
    """Return the script of bash, which completes files itself where nothing else is offered."""
    after, options, places = [], [], []
    for name, command in commands.items():
        words = [word for a in _options(command) for word in a.words]
        options.append(f'    {name}) words="{" ".join([*words, "--help"])}" ;;')
        for argument in arguments_of(command):
            offered = " ".join(_choices(name, argument))
            if offered and argument.flags:
                cases = "|".join(f"{name}:{flag}" for flag in argument.flags)
                after.append(f'    {cases}) words="{offered}" ;;')
            elif offered:
                places.append(f'    {name}) words="{offered}" ;;')
    return _BASH.format(
        commands=" ".join([*commands, "--help", "--version"]),
        after="\n".join(after),
        options="\n".join(options),
        places="\n".join(places),
    )


_BASH = """\
# Completion of diffusionblend for bash: eval "$(diffusionblend completion bash)"
_diffusionblend() {{
  local cur="${{COMP_WORDS[COMP_CWORD]}}" prev="${{COMP_WORDS[COMP_CWORD - 1]}}" words=""
  # bash takes `--method=fbp` for three words.
  if [[ "$cur" == "=" ]]; then cur=""; fi
  if [[ "$prev" == "=" ]]; then prev="${{COMP_WORDS[COMP_CWORD - 2]}}"; fi
  COMPREPLY=()
  if (( COMP_CWORD == 1 )); then
    words="{commands}"
  else case "${{COMP_WORDS[1]}}:$prev" in
{after}
  esac; fi
  if [[ -z "$words" && "$cur" == -* ]]; then case "${{COMP_WORDS[1]}}" in
{options}
  esac; elif [[ -z "$words" && "$prev" != -* ]]; then case "${{COMP_WORDS[1]}}" in
{places}
  esac; fi
  if [[ -n "$words" ]]; then COMPREPLY=($(compgen -W "$words" -- "$cur")); fi
}}
complete -o default -F _diffusionblend diffusionblend"""


def _zsh(commands: Mapping[str, type]) -> str:
    verbs = "\n".join(f"    {_quoted(f'{n}:{_brief(c.__doc__)}')}" for n, c in commands.items())
    cases = "\n".join(
        f"    {name}) _arguments {' '.join(_zsh_arguments(name, c))} ;;"
        for name, c in commands.items()
    )
    return _ZSH.format(verbs=verbs, cases=cases)


_ZSH = """\
#compdef diffusionblend
# Completion of diffusionblend for zsh: eval "$(diffusionblend completion zsh)"
_diffusionblend() {{
  local -a verbs=(
{verbs}
  )
  if (( CURRENT == 2 )); then
    _describe -t commands command verbs
    return
  fi
  shift words
  (( CURRENT-- ))
  case $words[1] in
{cases}
  esac
}}
# In a file of its own, or read by eval.
if [[ "$funcstack[1]" == _diffusionblend ]]; then
  _diffusionblend "$@"
else
  compdef _diffusionblend diffusionblend
fi"""


def _zsh_arguments(name: str, command: type) -> Iterator[str]:
    for argument in _options(command):
        value = "" if argument.kind is bool else f":{argument.name}:{_zsh_value(name, argument)}"
        about = f"[{_brief(argument.help)}]"
        yield from (_quoted(word + about + value) for word in argument.words)
    places = [a for a in arguments_of(command) if not a.flags]
    for argument in places:
        where = "*" if argument.many else ""
        yield _quoted(f"{where}:{argument.name}:{_zsh_value(name, argument)}")


def _zsh_value(name: str, argument: Argument) -> str:
    offered = " ".join(_choices(name, argument))
    if offered and not _takes_files(argument):
        return f"({offered})"
    files = "_files" if _takes_files(argument) else " "
    return f"{{compadd {offered}; _files}}" if offered else files


def _fish(commands: Mapping[str, type]) -> str:
    """Return the script of fish, which completes files unless it is told not to."""
    lines = ["# Completion of diffusionblend for fish: diffusionblend completion fish | source"]
    lines.append("complete -c diffusionblend -e")
    for name, command in commands.items():
        about = _quoted(_brief(command.__doc__))
        lines.append(f"complete -c diffusionblend -n __fish_use_subcommand -f -a {name} -d {about}")
        seen = f"complete -c diffusionblend -n '__fish_seen_subcommand_from {name}'"
        lines += [f"{seen} {what}" for a in _options(command) for what in _fish_option(name, a)]
        for argument in arguments_of(command):
            offered = " ".join(_choices(name, argument))
            if offered and not argument.flags:
                only = "" if _takes_files(argument) else "-f "
                lines.append(f"{seen} {only}-a {_quoted(offered)}")
    return "\n".join(lines)


def _fish_option(name: str, argument: Argument) -> Iterator[str]:
    offered = " ".join(_choices(name, argument))
    value = "-r" if _takes_files(argument) else "-x"
    takes = "" if argument.kind is bool else f" {value}" + f" -a {_quoted(offered)}" * bool(offered)
    for word in argument.words:
        dashes = "-l" if word.startswith("--") else "-s"
        yield f"{dashes} {word.lstrip('-')}{takes} -d {_quoted(_brief(argument.help))}"


def _brief(text: str | None) -> str:
    """Return the first sentence of a help text, or so much of it as goes into a line.

    Without what a shell would take for more than a letter, in quotes or in a list of options.
    """
    line = " ".join((text or "").partition("\n\n")[0].split()).rstrip(".")
    line = line.translate(str.maketrans(":[]", ";()", "'\\"))
    return line if len(line) <= _SUMMARY else line[:_SUMMARY].rsplit(" ", 1)[0] + " ..."


def _quoted(text: str) -> str:
    return f"'{text}'"
