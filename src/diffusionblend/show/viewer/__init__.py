"""The viewer: volumes side by side, on a page that this machine serves to its own browser."""

from diffusionblend.show.viewer.browser import in_browser
from diffusionblend.show.viewer.contents import Contents, gather
from diffusionblend.show.viewer.server import ViewerServer

__all__ = ["Contents", "ViewerServer", "gather", "in_browser"]
