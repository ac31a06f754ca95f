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


def xtekct(**more):
    """Return what a Nikon scanner says of a scan; `more` replaces or adds lines."""
    stated = {
        "Name": "scan", "SrcToObject": SOD, "SrcToDetector": SDD, "DetectorPixelsX": BINS,
        "DetectorPixelsY": ROWS, "DetectorPixelSizeX": PIXEL[0], "DetectorPixelSizeY": PIXEL[1],
        "Projections": VIEWS, "InitialAngle": 5, "AngularStep": 30, "WhiteLevel": 60000,
        "ObjectOffsetX": 0, "ObjectRoll": 0, "ObjectTilt": 0, "InputFolderName": "",
    }  # fmt: skip
    text = "".join(f"{name}={value}\n" for name, value in (stated | more).items())
    return "[XTekCT]\n" + text + "[CTPro]\nVersion=V5.1\n"


def skyscan_1275(rows, bins, **more):
    """Return what a newer SkyScan says of it, in other letters; `more` adds lines."""
    lines = [
        "[System]", "Scanner=SkyScan1275", "Camera Pixel Size (um)=75.0", "Camera X/Y Ratio=1.0020",
        "[User]", "User Name=SkyScan", "[Acquisition]", "Number Of Files=  12",
        f"Number Of Rows= {rows}", f"Number Of Columns= {bins}", "Image Rotation=-0.03800",
        "Object to Source (mm)=120.000", "Camera to Source (mm)=165.0",
        "Image Pixel Size (um)=17.510000", "Rotation Step (deg)=30.000", "Use 360 Rotation=YES",
    ]  # fmt: skip
    return "\n".join([*lines, *(f"{name.replace('_', ' ')}={more[name]}" for name in more)])


def skyscan(rows, bins):
    """Return what a SkyScan says of a scan of twelve views."""
    return "\n".join([
        "[System]", "Scanner=SkyScan1176", "Camera Pixel Size (um)=  12.6", "CameraXYRatio=1.002",
        "[Acquisition]", "Number of Files=  12", f"Number of Rows={rows}",
        f"Number of Columns={bins}", "Object to Source (mm)=120.000",
        "Camera to Source (mm)=165.000", "Image Pixel Size (um)=   17.51",
        "Rotation Step (deg)=30.000", "[Reconstruction]", "Program=NRecon",
    ])  # fmt: skip
