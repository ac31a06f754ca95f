"""Formats of volumes: one module each, and what finds volumes in a folder."""

from diffusionblend.io.formats.find import Candidate, find_volumes

__all__ = ["Candidate", "find_volumes"]
