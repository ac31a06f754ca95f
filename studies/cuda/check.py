"""Say what this machine has of what the other stages need; what is missing fails, in words.

`check.py -o FILE.json [--device cpu]`. Compares a product of matrices and both products of a cone
beam on the device with those of the CPU, since packages may be there and not work together.
"""

import argparse
import json
import os
import platform
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXTRAS = ("cone", "cuda-cone", "train")
TESTS = ("hypothesis", "packaging", "pytest")
CLOSE = 1e-2  # of matrices in bfloat16, whose numbers have 8 bits
FREE_GB = 2


def requirements() -> list[str]:
    """Return what the package and its extras require, and the tests of the device."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [r for name in EXTRAS for r in project["optional-dependencies"][name]]
    return [*project["dependencies"], *extras, *TESTS]


def packages() -> dict[str, str | None]:
    """Return the version of each package that is required; none where it is not here."""
    return {name: _version(name) for name in sorted({_name(r) for r in requirements()})}


def _name(requirement: str) -> str:
    return re.match(r"[\w.-]+", requirement)[0]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def too_old() -> Iterator[str]:
    """Yield what is here in a version that is not enough."""
    from packaging.requirements import Requirement

    for requirement in map(Requirement, requirements()):
        found = _version(requirement.name)
        if found and not requirement.specifier.contains(found, prereleases=True):
            yield f"{requirement.name} is {found}, expected {requirement.specifier}"


def machine(device: str) -> dict[str, object]:
    import torch

    facts = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "free_disk_gb": round(shutil.disk_usage(Path.cwd()).free / 1e9, 1),
    }
    if device == "cuda" and torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        facts |= {
            "capability": torch.cuda.get_device_capability(),
            "memory_gb": round(total / 1e9, 1),
            "free_memory_gb": round(free / 1e9, 1),
            "bfloat16": torch.cuda.is_bf16_supported(),
        }
    return facts


def problems(device: str) -> Iterator[str]:
    """Yield what is wrong, in words."""
    missing = [name for name, found in packages().items() if found is None]
    if missing:
        yield f"not here: {', '.join(missing)}; carry their wheels: WHEELS='...' cuda.sh pack"
    if "packaging" not in missing:
        yield from too_old()
    if shutil.disk_usage(Path.cwd()).free < FREE_GB * 1e9:
        yield f"{Path.cwd()}: less than {FREE_GB} GB are free"
    if "torch" in missing:
        return
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        yield "torch sees no CUDA device; look at nvidia-smi, and at torch.version.cuda"
        return
    yield from matrices(device)
    if not {"diffct", "numba"} & set(missing):
        yield from cones(device)


def matrices(device: str) -> Iterator[str]:
    """Yield what is wrong with a product of matrices."""
    import torch

    a, b = torch.randn(2, 512, 512, generator=torch.Generator().manual_seed(0))
    expected = a @ b
    found = (a.to(device, torch.bfloat16) @ b.to(device, torch.bfloat16)).float().cpu()
    if not _apart(found, expected) < CLOSE:
        yield f"a product of matrices is off by {_apart(found, expected):.1e} on {device}"


def cones(device: str) -> Iterator[str]:
    """Yield what is wrong with the cone beam: whatever another package raises, too."""
    import torch

    from diffusionblend.geometry import Geometry, Grid
    from diffusionblend.geometry.acquisitions import cone_beam
    from diffusionblend.projectors.diffct import DiffctProjector

    grid = Grid.from_spacing((12, 32, 32))
    geometry = Geometry(grid, cone_beam(grid, (0.0, 100.0, 230.0), sod_mm=100, sdd_mm=150))
    try:
        A, B = (DiffctProjector(geometry, device=place) for place in ("cpu", device))
        x = torch.rand(grid.shape, generator=torch.Generator().manual_seed(0))
        y = A(x)
        apart = max(_apart(B(x.to(device)).cpu(), y), _apart(B.T(y.to(device)).cpu(), A.T(y)))
    except Exception as error:  # whatever diffct, numba or the driver raise
        yield f"the cone beam does not work on {device}: {type(error).__name__}: {error}"
        return
    if not apart < 1e-3:
        yield f"the cone beam is off by {apart:.1e} on {device}"


def _apart(found: "torch.Tensor", expected: "torch.Tensor") -> float:  # noqa: F821
    return float((found - expected).norm() / expected.norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    facts = {"packages": packages()}
    if facts["packages"]["torch"]:
        facts |= machine(options.device)
    wrong = list(problems(options.device))
    facts["problems"] = wrong
    options.output.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    for name, value in facts.items():
        print(f"{name}: {value}")
    if wrong:
        sys.exit("\n".join(f"check: {line}" for line in wrong))


if __name__ == "__main__":
    main()
