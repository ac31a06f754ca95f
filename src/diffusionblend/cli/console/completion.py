"""Scripts that complete commands, options, choices and files in bash, zsh and fish.

cyclopts writes them. They name the methods, priors and experiments that there are now, so that no
key starts Python; what can be a name or a file is completed as both.
"""

import re
from collections.abc import Mapping
from typing import Literal

from cyclopts import App

from diffusionblend.cli.console.arguments import Values, application, meanings

Shell = Literal["bash", "zsh", "fish"]


def script(shell: Shell, commands: Mapping[str, type]) -> str:
    """Return the script of a shell."""
    app = App(name="diffusionblend")
    for name, command in commands.items():
        app.command(application(name, command, meanings(command), _values(name)))
    return _or_files(app.generate_completion(shell=shell)).strip()


def _values(command: str) -> Values:
    """Return the values to offer for texts, by the name of the field."""
    from diffusionblend.methods import method_names

    values = {
        "method": method_names(),
        "about": method_names(),
        "prior": _priors(),
        "device": ["auto", "cpu", "cuda"],
    }
    return values | ({"name": _experiments()} if command == "benchmark" else {})


def _priors() -> list[str]:
    from diffusionblend.prior import shipped_priors

    return list(shipped_priors())


def _experiments() -> list[str]:
    from diffusionblend.experiments.recipe import names

    return [*names(), "all"]


def _or_files(script: str) -> str:
    """Let files be completed beside names: a prior's folder, a scan, a recipe."""
    from diffusionblend.methods import method_names

    script = script.replace("complete -F", "complete -o default -F")
    for names in (_priors(), _experiments(), method_names()):
        offered = " ".join(names)
        script = script.replace(f"-f -a '{offered}'", f"-a '{offered}'")
        script = re.sub(rf"(-l prior) -x (-a '{re.escape(offered)}')", r"\1 -r \2", script)
        both = f"{{compadd {offered}; _files}}"
        script = re.sub(rf'("(?:1:|\*--prior).*):\({re.escape(offered)}\)"', rf'\1:{both}"', script)
    return script
