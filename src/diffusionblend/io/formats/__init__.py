"""Formats of volumes: one module and one line of `registry` each."""

from diffusionblend.io.formats.foreign import parsing
from diffusionblend.io.formats.format import Format

__all__ = ["Format", "parsing"]
