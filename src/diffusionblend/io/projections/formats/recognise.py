"""From a path to a source of projections: what it is is seen from its bytes, not its name."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.io.files import check_kind, has_suffix, inside, naming
from diffusionblend.io.formats.dicom.files import MAGIC as DICOM
from diffusionblend.io.formats.dicom.files import MAGIC_AT as DICOM_AT
from diffusionblend.io.formats.foreign import extra, parsing
from diffusionblend.io.formats.registry import is_volume
from diffusionblend.io.projections.formats import arrays, hdf5, matlab, tiff, zeiss
from diffusionblend.io.projections.formats.geometry_file import (
    NAME,
    AnyFacts,
    order_of,
    read_geometry,
)
from diffusionblend.io.projections.formats.layouts import open_array, open_hdf5, order_unsaid
from diffusionblend.io.projections.formats.names import (
    SUFFIXES,
    fingerprint,
    is_pattern,
    series_of,
    tiff_files,
)
from diffusionblend.io.projections.formats.rtk import read_rtk
from diffusionblend.io.projections.formats.scanner_text import (
    TEXTS,
    is_scanner_text,
    read_scanner_text,
)
from diffusionblend.io.projections.formats.source import Source, Unit
from diffusionblend.io.projections.formats.stack import AXES, Stack, orders_of_fields
from diffusionblend.io.projections.formats.tool_geometry import read_tool_geometry
from diffusionblend.io.projections.formats.vendors import FOREIGN, foreign
from diffusionblend.io.projections.options import Options, Tool

_EXPECTED = (
    "expected projections: Data Exchange or NXtomo HDF5, a folder of TIFF, a TIFF, .npy or .npz "
    "with a geometry.json, or that geometry.json"
)
JSON = (".json",)
CT_PD_GROUPS = range(0x7029, 0x7042)
"""Groups of the private tags of DICOM-CT-PD (Chen et al. 2015)."""


def find_geometry(source: Path, options: Options) -> tuple[AnyFacts | None, Path | None, Options]:
    """Return what is said about projections, the file that says it, and what is still to be used.

    Args:
        source: The projections, or a geometry.json that names them.
        options: What the user says of the geometry, or of the package that it is of; nothing looks
            beside the projections.

    Returns:
        The options lack the unit of angles, and a list of them, that were used.
    """
    path = options.geometry or _geometry_beside(source)
    if path is None:
        return None, None, options
    if path.is_file() and is_scanner_text(_start(path)):
        facts: AnyFacts = read_scanner_text(path, options.angles_from)
        return facts, path, dataclasses.replace(options, angles_from=None)
    facts, unit = _read_any_geometry(path, options.from_, options.angles)
    return facts, path, dataclasses.replace(options, angles=unit)


def _geometry_beside(source: Path) -> Path | None:
    """Return what describes projections: itself, a geometry.json, or the text of a scanner."""
    folder = source if source.is_dir() else source.parent
    if has_suffix(source, JSON) or (source.is_file() and is_scanner_text(_start(source))):
        return source
    if (folder / NAME).is_file():
        return folder / NAME
    pictures = tiff_files(source)
    if not pictures:
        return None
    described = (file for file in _files(folder) if has_suffix(file, TEXTS))
    texts = [file for file in described if is_scanner_text(_start(file))]
    own = [text for text in texts if all(file.name.startswith(text.stem) for file in pictures)]
    if len(texts) > 1 and len(own) != 1:
        named = ", ".join(text.name for text in texts[:5])
        raise UnsupportedInput(
            f"{source}: {len(texts)} scanner texts are beside its TIFF, {named}; give the one of "
            "this scan by `geometry=FILE`, and its files by a pattern of their names"
        )
    return next(iter(own or texts), None)


def _read_any_geometry(
    path: Path, tool: Tool | None, unit: Unit | None
) -> tuple[AnyFacts, Unit | None]:
    """Read a geometry of any kind; return what of the unit of its angles is still to be used."""
    if not path.is_file():
        return read_geometry(path), unit
    if has_suffix(path, (".xml",)) or tool == "rtk":
        return read_rtk(path), unit
    taken = read_tool_geometry(path, tool, unit)
    return (read_geometry(path), unit) if taken is None else taken


def find_data(source: Path, facts: AnyFacts | None, described: Path | None) -> Path:
    """Return where the projections are: `source`, or what a geometry.json names."""
    named = None
    if facts is not None and described is not None and facts.data.file is not None:
        with naming(described):
            named = inside(described.parent, facts.data.file)
    if source == described and named is None and not has_suffix(source, JSON):
        named = _tiff_beside(source)
    if source == described or has_suffix(source, JSON):
        if named is None:
            raise CorruptInput(
                f'{source}: names no projections; add "file" to its data, or import them with '
                f"`geometry={source.name!r}`"
            )
        source = named
    elif named is not None and named.resolve() != source.resolve():
        raise CorruptInput(
            f"{described}: is the geometry of {named.name}, not of {source.name}; import {named}, "
            f'correct "file" in its data, or move {source.name} to a folder of its own'
        )
    if not source.exists() and not tiff_files(source):
        raise CorruptInput(f"{source}: no such file or folder; {_EXPECTED}")
    check_kind(source)
    _check_sum(source, facts)
    return source


def _tiff_beside(text: Path) -> Path:
    """Return the folder of a scanner's text, which has to hold its TIFF."""
    if not tiff_files(text.parent):
        raise CorruptInput(
            f"{text}: no TIFF is beside it; expected the projections that it describes"
        )
    return text.parent


def _check_sum(source: Path, facts: AnyFacts | None) -> None:
    stated = None if facts is None else facts.data.sha256
    if stated is not None and stated.lower() != fingerprint(source):
        raise CorruptInput(
            f"{source}: its SHA-256 differs from the one in its geometry; copy it again"
        )


def open_source(
    path: Path, facts: AnyFacts | None, order: Sequence[str] | None, number: int | None = None
) -> Source:
    """Open projections of any kind.

    Args:
        path: File, folder, or pattern of names in a folder.
        facts: What is said about them, if anything.
        order: Of the axes; none takes that of `facts`.
        number: Which number in the names of files counts, if the user says so.
    """
    said = order
    if order is None and facts is not None:
        order = order_of(facts)
    start = _start(path)
    if start.startswith(hdf5.MAGIC):
        return open_hdf5(path, order, said, None if facts is None else facts.data.array)
    if tiff_files(path):
        series = series_of(path, number)
        stack = tiff.open_tiff(path, series.files, order or AXES)
        folder = path.parent if is_pattern(path) else path
        return Source("folder of TIFF", stack, series=series, hint=_description_beside(folder))
    if start.startswith(zeiss.MAGIC):
        return zeiss.read_txrm(path)
    array = None if facts is None else facts.data.array
    if start.startswith((matlab.OLD, matlab.NEW)):
        return matlab.read_mat(path, start, order, array)
    kind, stack = _open(path, start, order, array)
    return Source(kind, stack)


def has_free_axes(path: Path) -> bool:
    """Return whether a file does not say what its axes are: an array, a TIFF of one picture."""
    if not path.is_file():
        return False
    start = _start(path)
    if start.startswith(tiff.MAGIC):
        return tiff.is_one_picture(path)
    return start.startswith((arrays.NPY, arrays.NPZ))


def file_and_array(name: str, folder: Path = Path()) -> tuple[str, str | None]:
    """Return a file and the array in it that `FILE:ARRAY` names; no array if it names a file alone.

    Args:
        name: Of a file, which may itself have colons, or of an array in it.
        folder: What the name begins at.
    """
    if not os.path.exists(folder / name):  # unlike Path's, also of what can be no name
        for place, letter in enumerate(name):
            if letter == ":" and os.path.isfile(folder / name[:place]):
                return name[:place], name[place + 1 :]
    return name, None


def open_fields(path: Path, order: Sequence[str] | None, pixels: tuple[int, int]) -> Stack:
    """Open projections of air, or without rays, which may be one picture alone.

    Args:
        path: File, `FILE:ARRAY`, folder, or pattern of names in a folder.
        order: Of the axes of the projections; that of fields is the same, or lacks the views.
        pixels: Rows and bins that they have to have.
    """
    name, array = file_and_array(str(path))
    path = Path(name)
    files = tiff_files(path)
    if not path.exists() and not files:
        raise CorruptInput(
            f"{path}: no such file or folder; expected TIFF, .npy or .npz, or an array in a file, "
            "as scan.h5:/exchange/data_white"
        )
    problems: list[UnsupportedInput] = []
    for tried in orders_of_fields(order or AXES):
        try:
            stack = tiff.open_tiff(path, files, tried) if files else _one_of(path, tried, array)
        except UnsupportedInput as problem:
            problems.append(problem)
            continue
        if stack.shape[1:] == pixels:
            return stack
        problems.append(
            UnsupportedInput(
                f"{path}: has {stack.shape[1:]} pixels, but the projections have {pixels}; "
                "expected the same"
            )
        )
    raise problems[0]


def _one_of(path: Path, order: Sequence[str], array: str | None) -> Stack:
    """Open an array of a file that may hold others."""
    start = _start(path)
    if start.startswith(hdf5.MAGIC):
        return open_array(path, order, array)
    if start.startswith((matlab.OLD, matlab.NEW)):
        return matlab.read_mat(path, start, order, array).data
    return _open(path, start, order, array)[1]


def _open(
    path: Path, start: bytes, order: Sequence[str] | None, array: str | None
) -> tuple[str, Stack]:
    """Open projections that lie in one file."""
    if order is None:
        if has_free_axes(path):
            raise order_unsaid(path)
        order = AXES
    if start.startswith(tiff.MAGIC):
        return "TIFF of many pages", tiff.open_tiff(path, [path], order)
    if start.startswith(arrays.NPY):
        return "NumPy array", arrays.open_npy(path, order)
    if start.startswith(arrays.NPZ):
        return "NumPy arrays", arrays.open_npz(path, order, array)
    _refuse_foreign(path)
    _refuse_dicom(path)
    if is_volume(path):
        raise UnsupportedInput(
            f"{path}: has the name of a volume, which `simulate` turns into a scan; {_EXPECTED}"
        )
    raise CorruptInput(f"{path}: is of an unknown kind; {_EXPECTED}; or copy it again")


def _start(path: Path) -> bytes:
    if path.is_dir() or is_pattern(path):
        return b""
    check_kind(path)
    with parsing(path), open(path, "rb") as file:
        return file.read(DICOM_AT + len(DICOM))


def _refuse_foreign(path: Path) -> None:
    """Refuse a format of others by its name, if it is such; of a folder the surest of its files."""
    found = [(one, file) for file in _files(path) if (one := foreign(file, _start(file)))]
    if not found:
        return
    one, file = min(found, key=lambda pair: FOREIGN.index(pair[0]))
    cure = one.cure
    if one.describes:
        cure = f"import the folder of its TIFF with a geometry.json: {cure}"
    inside_it = f"holds {file.name}, which " if path.is_dir() else ""
    raise UnsupportedInput(f"{path}: {inside_it}is {one.what}; {cure}")


def _files(path: Path) -> list[Path]:
    """Return the file, or those directly in a folder."""
    with parsing(path):
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        return [file for file in files if file.is_file()]


def _description_beside(folder: Path) -> str:
    """Return what a vendor's text in a folder says, if there is one."""
    for file in _files(folder) if folder.is_dir() else []:
        if file.suffix.lower() not in SUFFIXES:
            found = foreign(file, _start(file))
            if found is not None and found.describes:
                return f"; {file.name} is {found.what}: {found.cure}"
    return ""


def _refuse_dicom(path: Path) -> None:
    """Refuse DICOM by its name, if it is such."""
    found = next((file for file in _files(path) if _start(file)[DICOM_AT:] == DICOM), None)
    if found is None:
        return
    with extra(found, "pydicom"):
        import pydicom
    with parsing(found):
        header = pydicom.dcmread(found, stop_before_pixels=True, defer_size=1024)
        projections = any(element.tag.group in CT_PD_GROUPS for element in header)
    if projections:
        raise UnsupportedInput(
            f"{path}: is DICOM-CT-PD: projections of a helix on a curved detector, which must be "
            "rebinned to a fan or a cone on a circle; do that with a tool such as helix2fan, "
            "write the sinograms as .npy or TIFF with a geometry.json, and import those"
        )
    raise UnsupportedInput(
        f"{path}: is DICOM, but not projections; `simulate` reads a CT series; {_EXPECTED}"
    )
