"""Completion in a shell."""

from dataclasses import dataclass
from typing import Literal

from diffusionblend.cli.commands.arguments import Placed
from diffusionblend.cli.terminal import show


@dataclass(frozen=True)
class Completion:
    """Print the script that lets bash, zsh or fish complete these commands.

    Examples:
        diffusionblend completion bash
        diffusionblend completion fish | source
    """

    shell: Placed[Literal["bash", "zsh", "fish"]]
    """Which shell."""
    json: bool = False
    """Print the script as a text of JSON."""

    def run(self) -> None:
        """Print it."""
        from diffusionblend.cli.commands import COMMANDS
        from diffusionblend.cli.console.completion import script

        text = script(self.shell, COMMANDS)
        show({"shell": self.shell, "script": text}, self.json, text)
