"""What made a file: written beside each output."""

import json
import platform
import time
from pathlib import Path
from typing import Any

from diffusionblend import __version__
from diffusionblend.files import atomic, sha256


def versions() -> dict[str, str]:
    """Return the versions of what a result depends on."""
    from importlib.metadata import version

    names = ("torch", "numpy", "nibabel", "h5py", "safetensors")
    return {
        "diffusionblend": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def record_of(output: Path) -> Path:
    """Return the place of the record that stands beside an output."""
    return output.with_name(output.name + ".json")


def write_record(output: Path, **facts: Any) -> None:  # noqa: ANN401 - whatever JSON can say
    """Write `OUTPUT.json`: versions, time, the output's SHA-256, and the facts given.

    Names of files only, never their folders: a record may be passed on.
    """
    record = {
        "schema": "diffusionblend-run/1",
        "output": output.name,
        "sha256": sha256(output),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": versions(),
        **facts,
    }
    with atomic(record_of(output)) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n")
