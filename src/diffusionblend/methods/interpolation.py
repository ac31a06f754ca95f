"""Linear interpolation of a picture between its pixels, nearest beyond them."""

import torch
from torch import Tensor


def between_bins(y: Tensor, at: Tensor) -> Tensor:
    """Interpolate a view (rows, bins) linearly at fractions of bins, nearest beyond them."""
    last = y.shape[-1] - 1
    left = at.floor().clamp(0, last - 1).long() if last else at.long() * 0
    share = (at - left).clamp(0, 1)
    return torch.lerp(y[:, left], y[:, (left + 1).clamp(max=last)], share)


def between_pixels(image: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Interpolate an image linearly at fractions of its rows and columns, nearest beyond them.

    Args:
        image: The image (rows, columns).
        row: Where to (n, rows, columns).
        column: Likewise, or alike in all n.
    """
    places = [
        2 * at.expand_as(row) / max(n - 1, 1) - 1
        for at, n in zip((column, row), reversed(image.shape), strict=True)
    ]
    grid = torch.stack(places, dim=-1).flatten(1, 2)  # (n, pixels, 2)
    found = torch.nn.functional.grid_sample(
        image[None, None], grid[None], padding_mode="border", align_corners=True
    )
    return found.view_as(row)
