"""Numbers in a range: the types of options and of what recipes say. NaN is in none of them."""

from typing import Annotated

from msgspec import Meta

Count = Annotated[int, Meta(ge=1)]
Sweeps = Annotated[int, Meta(ge=1, le=1000)]
Whole = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0, le=1e9)]
NonNegative = Annotated[float, Meta(ge=0, le=1e9)]
Share = Annotated[float, Meta(ge=0, le=1)]
