"""Whether all is well here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Doctor:
    """Say what is installed, how fast it is here, and what volumes would take."""

    json: bool = False
    """Print the findings as JSON."""

    def run(self) -> None:
        """Look."""
