"""Small problems that dense algebra solves."""

import numpy as np
import torch


def disc(size, centre=(0.0, 0.0), radius=20.0, fine=8):
    """An anti-aliased disc of 1 in 0; centre (x, y) and radius in pixels."""
    y, x = np.mgrid[: size * fine, : size * fine] / fine - (size - 1 / fine) / 2
    inside = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2
    return inside.reshape(size, fine, size, fine).mean(axis=(1, 3))[None].astype(np.float32)


def dense_matrix(A):
    rows, columns = A.volume_shape[1:]
    return A(torch.eye(rows * columns).view(-1, rows, columns)).flatten(1).T.double()
