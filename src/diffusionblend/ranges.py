"""Numbers in a range: the types of options and of values in recipes. None of them admits NaN."""

from typing import Annotated

from msgspec import Meta

from diffusionblend.errors import UsageError

Count = Annotated[int, Meta(ge=1)]
Sweeps = Annotated[int, Meta(ge=1, le=1000)]
Whole = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0, le=1e9)]
NonNegative = Annotated[float, Meta(ge=0, le=1e9)]
Value = Annotated[float, Meta(ge=-1e9, le=1e9)]
Share = Annotated[float, Meta(ge=0, le=1)]
MOST_SEED = 2**63 - 1
"""What PyTorch takes."""
Seed = Annotated[int, Meta(ge=0, le=MOST_SEED)]


def check_order(options: object, lower: str, upper: str) -> None:
    """Raise UsageError if one option is above another; both are given by their names."""
    low, high = getattr(options, lower), getattr(options, upper)
    if not low <= high:
        raise UsageError(f"`{lower}={low}`: expected at most `{upper}={high}`")
