"""Formats that are not read, by their names and makers, and the way that works for each.

They are known by their first bytes or by the ends of their names.
"""

from dataclasses import dataclass
from pathlib import Path

_SAVE = "save its projections as .npy with a geometry.json, by"
_OF_A_VOLUME = "of a volume `simulate` makes a scan"


def _each(suffix: str, package: str, read: str) -> str:
    """Return how to write a TIFF of each picture in a folder, its fields among them."""
    return (
        f"write each as TIFF, by {package} and tifffile: [tifffile.imwrite(p.with_suffix('.tif'), "
        f"{read}) for p in pathlib.Path(FOLDER).glob('*.{suffix}')]; import the folder, or give "
        "fields and views by one pattern each"
    )


@dataclass(frozen=True)
class Foreign:
    """A format of others.

    Attributes:
        what: What it is, and whose.
        cure: What to do with it.
        starts: What its files may begin with.
        ends: Ends of their names.
        describes: Whether it is the text that describes a scan, beside its projections.
    """

    what: str
    cure: str
    starts: tuple[bytes, ...] = ()
    ends: tuple[str, ...] = ()
    describes: bool = False

    def of(self, path: Path, start: bytes) -> bool:
        """Return whether a file is of this format."""
        return start.startswith(self.starts) or path.suffix.lower() in self.ends


FOREIGN = (  # the surest first
    Foreign(
        "the text of a phoenix scan (Waygate, GE)",
        "FOD is sod_mm of a cone, FDD sdd_mm, PixelsizeX bin_mm, PixelsizeY row_mm, RotationSector "
        "/ NumberImages the step of angles_deg, NumberImages its count",
        ends=(".pca",),
        describes=True,
    ),
    Foreign(
        "VGStudio's text of a volume",
        "expected projections; import the folder of TIFF that it was made from",
        ends=(".vgi", ".vgl"),
    ),
    Foreign(
        "MetaImage, as RTK writes projections",
        f"{_SAVE} SimpleITK: numpy.save('p.npy', GetArrayFromImage(ReadImage(FILE))); import p.npy "
        f"with `geometry='GEOMETRY.xml'` and `order='view,row,bin'`; {_OF_A_VOLUME}",
        starts=(b"ObjectType", b"NDims"),
        ends=(".mha", ".mhd"),
    ),
    Foreign(
        "NRRD",
        f"{_SAVE} pynrrd: numpy.save('p.npy', nrrd.read(FILE)[0]), and give `order` of its axes; "
        f"{_OF_A_VOLUME}",
        starts=(b"NRRD0",),
        ends=(".nrrd", ".nhdr"),
    ),
    Foreign(
        "MRC, the tilt series of electron microscopes",
        f"{_SAVE} mrcfile: numpy.save('p.npy', mrcfile.read(FILE)), in the order view,row,bin; the "
        "angles are in its .tlt or .rawtlt, which `angles_from=FILE` takes",
        ends=(".mrc", ".mrcs", ".st", ".ali"),
    ),
    Foreign(
        "a tomogram of IMOD, which is a volume",
        "expected projections; import the tilt series that it was made from, .st or .ali, which "
        "are MRC",
        ends=(".rec",),
    ),
    Foreign(
        "NetCDF",
        f"{_SAVE} scipy: numpy.save('p.npy', scipy.io.netcdf_file(FILE).variables[NAME][:])",
        starts=(b"CDF\x01", b"CDF\x02"),
    ),
    Foreign(
        "EDF of the ESRF",
        _each("edf", "fabio", "fabio.open(p).data"),
        ends=(".edf",),
    ),
    Foreign(
        "FITS",
        _each("fits", "astropy", "astropy.io.fits.getdata(p)"),
        starts=(b"SIMPLE  =",),
    ),
    Foreign(
        "HIS of PerkinElmer detectors (Elekta)",
        "convert it with RTK (rtkprojections), and save that as .npy with SimpleITK",
        ends=(".his",),
    ),
    Foreign(
        "XIM, HNC, HND or ATT of Varian",
        "convert it with RTK (rtkprojections), and save that as .npy with SimpleITK",
        starts=(b"VMS.XI", b"VARIAN_VA"),
    ),
    Foreign(
        "PNG",
        _each("png", "Pillow", "numpy.asarray(PIL.Image.open(p))"),
        starts=(b"\x89PNG",),
    ),
    Foreign(
        "BMP, a picture of 8 bits",
        _each("bmp", "Pillow", "numpy.asarray(PIL.Image.open(p))"),
        starts=(b"BM",),
    ),
    Foreign(
        "JPEG, a lossy picture of 8 bits",
        "export the projections again, as TIFF of 16 bits",
        starts=(b"\xff\xd8\xff",),
    ),
    Foreign(
        "XML",
        "give RTK's geometry by `geometry=FILE`, and the projections as the source",
        starts=(b"<?xml", b"<RTK"),
    ),
    Foreign(
        "numbers without a header",
        f"{_SAVE} numpy: save('p.npy', fromfile(FILE, 'u2').reshape(VIEWS, ROWS, BINS))",
        ends=(".raw", ".bin", ".dat", ".img", ".vol"),
    ),
    Foreign(
        "a text",
        f"{_SAVE} numpy: save('p.npy', loadtxt(FILE)) where it is a table of numbers, one view a "
        "line, with `order='view,bin'`; angles go into geometry.json or `angles_from=FILE`",
        ends=(".csv", ".tsv", ".txt", ".asc"),
    ),
)


def foreign(path: Path, start: bytes) -> Foreign | None:
    """Return the format of a file, if it is one of these."""
    return next((one for one in FOREIGN if one.of(path, start)), None)
