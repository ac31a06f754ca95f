"""Around the parsers of other packages: their absence and their failures, each as one line."""

import contextlib
from collections.abc import Iterator

from diffusionblend.errors import CorruptInput, DiffusionBlendError, UsageError
from diffusionblend.io.files import reading_cure
from diffusionblend.machine.packages import install
from diffusionblend.machine.quiet import quiet


@contextlib.contextmanager
def extra(name: object, package: str, group: str = "formats") -> Iterator[None]:
    """Around an import: say what to install if the package is not there."""
    try:
        yield
    except ImportError as error:
        raise UsageError(f"{name}: needs {package}; run `{install(group)}`") from error


@contextlib.contextmanager
def parsing(name: object) -> Iterator[None]:
    """Around a parser: whatever it stumbles over is damage to the input `name`."""
    try:
        with quiet():
            yield
    except (DiffusionBlendError, MemoryError):
        raise
    except Exception as error:  # parsers let errors of every kind out of damaged files
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise CorruptInput(
            f"{name}: cannot be read ({reason}); {reading_cure(error, 'copy or convert it again')}"
        ) from error
