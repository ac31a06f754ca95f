"""Priors for others."""

from dataclasses import dataclass

from diffusionblend.cli.commands.arguments import Input, Placed
from diffusionblend.cli.terminal import show


@dataclass(frozen=True)
class Push:
    """Put a prior on the Hugging Face hub, and print the name that others use.

    Examples:
        diffusionblend push runs/chest/prior owner/name --private
    """

    folder: Input
    """A prior's folder: config.json, model.safetensors and README.md."""
    name: Placed[str]
    """Its name there, owner/name; made if it is not there."""
    private: bool = False
    """Only its owner may see it."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Check the prior and push it."""
        from diffusionblend.prior.hub import push

        pinned = push(self.folder, self.name, private=self.private)
        show({"prior": pinned}, self.json, pinned)
