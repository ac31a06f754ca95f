"""3D CT reconstruction from few X-ray views with learned diffusion priors."""

import importlib
import inspect
import re
from pathlib import Path

from diffusionblend._version import __version__

# Where each public name lives: imported when first used, so that `--help` does not wait for torch.
_STUB = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
_HOMES = {name: home for home, name in re.findall(r"from (\S+) import (\w+) as", _STUB)}
_HOMES.pop("__version__")

__all__ = ["__version__", *sorted(_HOMES)]  # noqa: PLE0604 - names are read above


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from diffusionblend.arguments import checked
    from diffusionblend.machine.ambient import unaffected

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = checked(unaffected(value)) if inspect.isfunction(value) else value
    return globals()[name]


def __dir__() -> list[str]:
    return [*__all__]
