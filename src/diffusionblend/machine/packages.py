"""Optional packages: what to install when one is not there."""

import re
import shlex
from importlib.metadata import PackageNotFoundError, requires


def install(extra: str) -> str:
    """Return the command that installs the packages of an extra of this package.

    It names the packages themselves, so that it works wherever this package was installed from.
    """
    try:
        requirements = requires("diffusionblend") or []
    except PackageNotFoundError:  # run from a checkout that is not installed
        return f"pip install '.[{extra}]'"
    suffix = re.compile(rf"\s*;\s*extra == ['\"]{extra}['\"]$")
    packages = [suffix.sub("", each) for each in requirements if suffix.search(each)]
    return shlex.join(["pip", "install", *packages])
