"""Whether a picture is of a few flat materials: those total variation knows, and no prior."""

import numpy as np

LEVELS = 256


def left_by_three(values: np.ndarray) -> float:
    """Return the share of the variance that is left when each value becomes the nearest of three.

    The three are the best ones (Otsu, IEEE Transactions on Systems, Man and Cybernetics 1979): air
    and two materials leave nothing, values that are spread evenly a ninth.

    Args:
        values: Of voxels, in any unit; finite.

    Returns:
        0 to 1; 1 if they are all the same.
    """
    counts, edges = np.histogram(values, LEVELS)
    at = (edges[1:] + edges[:-1]) / 2 - values.mean()
    count, first, second = (
        np.concatenate([[0.0], np.cumsum(counts * at**power)]) for power in range(3)
    )
    if second[-1] == 0 or counts.max() == counts.sum():
        return 1.0
    # Of the levels from i to j: the squares that their mean takes away.
    known = (first - first[:, None]) ** 2 / np.maximum(count - count[:, None], 1)
    three = known[0][:, None] + known + known[:, -1]  # split at i and at j
    return float(1 - np.triu(three).max() / second[-1])
