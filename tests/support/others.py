"""Geometries as other packages write them."""

from types import SimpleNamespace

import numpy as np

BALLS = ((22, 6, 0, 6.0), (-14, 17, 2.2, 5.0), (2, -30, -2.1, 4.0), (-24, -8, 1.0, 3.0))


ANGLES = np.radians([0.0, 20.0, 75.0, 160.0, 251.0, 333.0])


ROWS, BINS, ROW_MM, BIN_MM = 7, 61, 2.0, 1.9


SOD, SDD, OFFSET, LIFT, BESIDE = 200.0, 310.0, 3.3, -1.4, 2.5


def chords(points, directions, flipped=(), balls=BALLS):
    """Return line integrals of the balls along rays (..., 3), in a world with flipped axes."""
    sign = np.where(np.isin(np.arange(3), flipped), -1.0, 1.0)
    length = np.linalg.norm(directions, axis=-1, keepdims=True)
    unit = directions / length
    y = 0.0
    for *centre, radius in balls:
        to = points - sign * np.array(centre)
        along = (to * unit).sum(-1)
        y = y + 2 * np.sqrt(np.maximum(radius**2 - (to * to).sum(-1) + along**2, 0))
    return y


def pixels(source, corner, along, up, rows=ROWS, bins=BINS):
    """Return the rays of a view: from a source to pixels that are counted from a corner."""
    r, b = np.meshgrid(np.arange(rows), np.arange(bins), indexing="ij")
    places = corner + r[..., None] * up + b[..., None] * along
    return np.broadcast_to(source, places.shape), places - source


def turned(angle, vector):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.asarray(vector, float)


def corner(middle, along, up, rows=ROWS, bins=BINS):
    return middle - (bins - 1) / 2 * along - (rows - 1) / 2 * up


def tigre(**more):
    return {
        "DSO": SOD, "DSD": SDD, "nDetector": [ROWS, BINS], "dDetector": [ROW_MM, BIN_MM],
        "offDetector": [LIFT, OFFSET], "COR": BESIDE, "offOrigin": [0, 0, 0],
        "rotDetector": [0, 0, 0], "nVoxel": [5, 64, 64], "dVoxel": [2, 1, 1],
        "angles": ANGLES,
    } | more  # fmt: skip


def cil(kind="cone", origin="bottom-left", roll=0.0, flat=False):
    """Return an object with the attributes of an `AcquisitionGeometry`."""
    n = 2 if flat else 3
    axis = np.array([BESIDE, 0, 0] if flat else [-BESIDE, 0, 0])[:n]
    system = SimpleNamespace(
        source=SimpleNamespace(position=np.array([0, -SOD, 0])[:n]),
        ray=SimpleNamespace(direction=np.array([0, 1.0, 0])[:n]),
        detector=SimpleNamespace(
            position=np.array([OFFSET, SDD - SOD, LIFT])[:n],
            direction_x=np.array([1.0, 0, 0])[:n],
            direction_y=np.array([0, 0, 1.0]),
        ),
        rotation_axis=SimpleNamespace(
            position=axis, direction=np.array([np.sin(roll), 0, np.cos(roll)])
        ),
    )
    angles = SimpleNamespace(angle_unit="degree", angle_data=np.degrees(ANGLES), initial_angle=11.0)
    panel = SimpleNamespace(
        num_pixels=(BINS, 1 if flat else ROWS), pixel_size=(BIN_MM, ROW_MM), origin=origin
    )
    config = SimpleNamespace(system=system, panel=panel, angles=angles)
    return SimpleNamespace(config=config, geom_type=kind)
