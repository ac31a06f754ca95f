"""The viewer: a page on this machine that shows volumes side by side."""

from diffusionblend.viewer.content import Shown, content_of, show_volumes
from diffusionblend.viewer.server import Server, serve

__all__ = ["Server", "Shown", "content_of", "serve", "show_volumes"]
