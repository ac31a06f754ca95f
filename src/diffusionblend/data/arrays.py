"""Arrays of other libraries as those of NumPy."""

from typing import Any

import numpy as np


def to_numpy(values: Any) -> np.ndarray:  # noqa: ANN401 - whatever gives numbers
    """Return numbers as float32; the same memory where that is possible.

    A tensor comes from its device and from its graph of gradients. It is not asked by its type,
    which would mean to import torch.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu().float().numpy()
    return np.asarray(values, dtype=np.float32)
