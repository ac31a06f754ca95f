"""The viewer: volumes side by side, on a page that this machine serves to its own browser."""

from diffusionblend.viewer.contents import Contents, gather
from diffusionblend.viewer.server import ViewerServer

__all__ = ["Contents", "ViewerServer", "gather"]
