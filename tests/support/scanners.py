"""Files of scanners, written as their documentation says."""

import struct

import numpy as np

from support.compound import write_compound

VIEWS, ROWS, BINS, PIXEL = 12, 7, 61, (1.9, 2.0)


SOD, SDD = 200.0, 310.0


DEGREES = 30.0 * np.arange(VIEWS)


def write_txrm(path, counts, white, shifts=None, **more):
    """Write counts (views, rows, bins) as a TXRM."""
    views, rows, bins = counts.shape
    kind = {"u": 5, "f": 10}[counts.dtype.kind]

    def ints(*n):
        return struct.pack(f"<{len(n)}i", *n)

    def floats(values):
        return np.asarray(values, "<f4").tobytes()

    streams = {
        "ImageInfo/ImageWidth": ints(bins), "ImageInfo/ImageHeight": ints(rows),
        "ImageInfo/DataType": ints(kind), "ImageInfo/NoOfImages": ints(views),
        "ImageInfo/PixelSize": floats([PIXEL[0] * 1000 * SOD / SDD]),
        "ImageInfo/Angles": floats(DEGREES), "ImageInfo/XrayGeometry": ints(1),
        "ImageInfo/StoRADistance": floats([-SOD] * views),
        "ImageInfo/DtoRADistance": floats([SDD - SOD] * views),
        "ReferenceData/DataType": ints(10), "ReferenceData/Image": floats(white),
    }  # fmt: skip
    if shifts is not None:
        streams["Alignment/X-Shifts"] = floats(shifts)
        streams["Alignment/Y-Shifts"] = floats(np.zeros(views))
    for view, picture in enumerate(counts):
        streams[f"ImageData{view // 100 + 1}/Image{view + 1}"] = picture.tobytes()
    streams |= more
    return write_compound(path, {name: part for name, part in streams.items() if part is not None})
