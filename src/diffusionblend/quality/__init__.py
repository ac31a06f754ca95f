"""How far a reconstruction can be trusted: figures and warnings, from the data and the picture."""

from diffusionblend.quality.assess import assess
from diffusionblend.quality.record import Quality, quality_from_json

__all__ = ["Quality", "assess", "quality_from_json"]
