"""RTK's geometry, written as RTK writes it."""

import numpy as np

SID, SDD = 500.0, 800.0


ANGLES = (0.0, 40.0, 130.0, 245.0)


SHIFTS = {"SourceOffsetX": 3.0, "SourceOffsetY": 5.0, "ProjectionOffsetX": -7.0}


SHIFTS["ProjectionOffsetY"] = 11.0


ROWS, BINS, PIXEL = 20, 31, 2.0


def itk_matrix(
    gantry, *, SourceOffsetX=0, SourceOffsetY=0, ProjectionOffsetX=0, ProjectionOffsetY=0
):
    """Translation of the detector x magnification x translation of the source x rotation."""
    g = np.radians(gantry)
    rotation = np.eye(4)
    rotation[:3, :3] = [[np.cos(-g), 0, np.sin(-g)], [0, 1, 0], [-np.sin(-g), 0, np.cos(-g)]]
    source = np.eye(4)
    source[:2, 3] = -SourceOffsetX, -SourceOffsetY
    magnification = np.array([[-SDD, 0, 0, 0], [0, -SDD, 0, 0], [0, 0, 1, -SID]])
    detector = np.eye(3)
    detector[:2, 2] = SourceOffsetX - ProjectionOffsetX, SourceOffsetY - ProjectionOffsetY
    return detector @ magnification @ source @ rotation


def xml(angles=ANGLES, shifts=SHIFTS, matrices=True, common="", each=""):
    """Write as RTK does: what does not change stands before the projections."""
    lines = [f"<SourceToIsocenterDistance>{SID}</SourceToIsocenterDistance>"]
    lines += [f"<SourceToDetectorDistance>{SDD}</SourceToDetectorDistance>"]
    lines += [f"<{name}>{value}</{name}>" for name, value in shifts.items()]
    for angle in angles:
        matrix = "\n".join(
            " ".join(f"{v:.15g}" for v in row) for row in itk_matrix(angle, **shifts)
        )
        held = f"<Matrix>\n{matrix}\n</Matrix>" if matrices else ""
        lines += [f"<Projection><GantryAngle>{angle}</GantryAngle>{each}{held}</Projection>"]
    body = "\n".join([common, *lines])
    head = '<?xml version="1.0"?>\n<!DOCTYPE RTKGEOMETRY>\n'
    return f'{head}<RTKThreeDCircularGeometry version="3">\n{body}\n</RTKThreeDCircularGeometry>\n'
