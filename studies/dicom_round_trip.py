"""A volume through DICOM and back: both ends are SimpleITK's, what is between are our commands.

`python studies/dicom_round_trip.py FOLDER [OPTION...]`. SimpleITK writes the demonstration scan
as a series; `simulate` reads it and scans it in a fan and in a cone; `reconstruct`, with the
options, writes a derived series, and the same in NIfTI; SimpleITK reads the series. Prints one line
for each beam.
"""

import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - as its documentation calls it

from diffusionblend.cli.main import main as command
from diffusionblend.experiments.demo import demonstration_volume

BEAMS = ("fan", "cone")
STUDY = {"0010|0010": "Doe^Jane", "0010|0020": "4711", "0008|0060": "CT"}
FRAME, STUDY_UID, SERIES_UID = "0020|0052", "0020|000d", "0020|000e"
UID = "1.2.826.0.1.3680043.8.498.77"


def main() -> None:
    place, *options = sys.argv[1:]
    folder, source = Path(place), Path(place, "source")
    written = write_series(demonstration_volume(), source)
    for beam in BEAMS:
        facts = there_and_back(source, written, folder, beam, *options)
        print(beam, *(f"{name}={value}" for name, value in facts.items()))


def write_series(volume: Path, folder: Path) -> sitk.Image:
    """Write a volume as a DICOM CT series of whole HU; return what was written."""
    image = sitk.Cast(
        sitk.Round(sitk.Clamp(sitk.ReadImage(volume), upperBound=3071)), sitk.sitkInt16
    )
    folder.mkdir(parents=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    across = [image.GetDirection()[i] for i in (0, 3, 6, 1, 4, 7)]
    for k in range(image.GetDepth()):
        one = image[:, :, k]
        position = image.TransformIndexToPhysicalPoint((0, 0, k))
        tags = STUDY | {
            STUDY_UID: f"{UID}.1",
            SERIES_UID: f"{UID}.2",
            FRAME: f"{UID}.3",
            "0008|0018": f"{UID}.4.{k + 1}",
            "0020|0013": str(k + 1),
            "0020|0032": joined(position),
            "0020|0037": joined(across),
            "0018|0050": f"{image.GetSpacing()[2]:g}",
            "0028|1052": "-1024",
            "0028|1053": "1",
        }
        for tag, value in tags.items():
            one.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{k:04d}.dcm"))
        writer.Execute(one)
    return image


def joined(numbers: tuple[float, ...] | list[float]) -> str:
    return "\\".join(f"{n:.8g}" for n in numbers)


def read_series(folder: Path) -> tuple[sitk.Image, dict[str, str]]:
    """Return the image, its axes along left, back and head, and its identity."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    reader.MetaDataDictionaryArrayUpdateOn()
    image = sitk.DICOMOrient(reader.Execute(), "LPS")
    tags = {"frame": FRAME, "study": STUDY_UID, "series": SERIES_UID}
    return image, {name: reader.GetMetaData(0, tag).strip() for name, tag in tags.items()}


def there_and_back(
    source: Path, written: sitk.Image, folder: Path, beam: str, *options: str
) -> dict[str, object]:
    """Scan and reconstruct a series; return how what is read at the end lies to the beginning."""
    scan, series, nifti = (folder / name for name in (f"{beam}.h5", beam, f"{beam}.nii.gz"))
    size = str(min(256, written.GetWidth()))
    run("simulate", source, "-o", scan, "--beam", beam, "--views", "20", "--size", size)
    run("reconstruct", scan, "-o", series, "--like", source, "--no-classical", *options)
    run("reconstruct", scan, "-o", nifti, "--no-classical", *options)
    (_, before), (found, after) = read_series(source), read_series(series)
    factor = written.GetWidth() // int(size)
    shrunk = sitk.BinShrink(written, (factor, factor, 1))
    ours = sitk.GetArrayFromImage(found).astype(float)
    as_nifti = sitk.GetArrayFromImage(sitk.DICOMOrient(sitk.ReadImage(nifti), "LPS"))
    on_grid = sitk.DICOMOrient(shrunk, "LPS")
    return {
        "slices": found.GetDepth(),
        "apart_mm": f"{corners_apart(found, on_grid):.2g}",
        "rounding_hu": f"{np.abs(ours - as_nifti).max():.3f}",
        "rms_hu": f"{rms(ours - sitk.GetArrayFromImage(on_grid)):.1f}",
        **{f"same_{name}": after[name] == before[name] for name in before},
    }


def corners_apart(one: sitk.Image, other: sitk.Image) -> float:
    """Return how far the corners of two images lie apart, in mm."""
    if one.GetSize() != other.GetSize():
        return float("inf")
    corners = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    indices = [tuple(c * (n - 1) for c, n in zip(at, one.GetSize(), strict=True)) for at in corners]
    points = (
        np.array([image.TransformIndexToPhysicalPoint(i) for i in indices])
        for image in (one, other)
    )
    return float(np.abs(np.subtract(*points)).max())


def rms(apart: np.ndarray) -> float:
    return float(np.sqrt(np.mean(apart**2)))


def run(*arguments: object) -> None:
    if command([str(a) for a in arguments]):
        sys.exit(1)


if __name__ == "__main__":
    main()
