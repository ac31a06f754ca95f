"""The viewer: volumes side by side, on a page that this machine serves to its own browser."""

from diffusionblend.show.viewer.contents import Contents, gather
from diffusionblend.show.viewer.server import ViewerServer
from diffusionblend.show.viewer.view import Viewing, view

__all__ = ["Contents", "ViewerServer", "Viewing", "gather", "view"]
