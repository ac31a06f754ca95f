"""Packages of others that pages show, installed without pip: it would ask a registry."""

import shutil
import sys
import tomllib
from pathlib import Path


def install(package, place):
    """Put a package's modules into a folder of `sys.path`, and beside them what pip writes."""
    told = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for module in package.glob("*.py"):
        shutil.copy(module, place)
    info = place / f"{told['name'].replace('-', '_')}-{told['version']}.dist-info"
    info.mkdir(exist_ok=True)
    head = f"Metadata-Version: 2.1\nName: {told['name']}\nVersion: {told['version']}\n"
    (info / "METADATA").write_text(head, encoding="utf-8")
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in points.items())])
        for group, points in told["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups) + "\n", encoding="utf-8")


if __name__ == "__main__":
    install(Path(sys.argv[1]), Path.cwd())
