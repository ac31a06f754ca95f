"""Arrays of other libraries as those of NumPy."""

from typing import Any

import numpy as np

from diffusionblend.errors import UnsupportedInput


def to_numpy(values: Any) -> np.ndarray:  # noqa: ANN401 - whatever gives numbers
    """Return numbers as float32, without a copy if possible.

    A tensor is moved to the CPU and detached from its graph. Its type is not checked, which would
    need an import of torch.

    Raises:
        UnsupportedInput: They are not real numbers.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu().float().numpy()
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise UnsupportedInput(f"{error}; expected an array of numbers") from error
    if array.dtype.kind not in "biuf":
        raise UnsupportedInput(f"the values are {array.dtype}; expected real numbers")
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        return array.astype(np.float32, copy=False)
