"""A cell: one run of one method on one scan, kept under the hash of all that decides it."""

import ast
import contextlib
import functools
import hashlib
import inspect
from pathlib import Path

import msgspec
import numpy as np

import diffusionblend
from diffusionblend.benchmark.recipe import Acquisition, Value
from diffusionblend.io.files import atomic, make_folder
from diffusionblend.methods import find_method
from diffusionblend.metrics import Figures

SCHEMA = "diffusionblend-cell/1"
FOLDER = "cells"
_PACKAGE = Path(diffusionblend.__file__).parent
_NO_NUMBERS = ("benchmark", "commands", "io/projections", "quality", "report", "training")
_NO_NUMBERS_FILES = ("cli.py", "demo.py", "provenance.py", "terminal.py", "progress.py")


class Cell(msgspec.Struct, frozen=True):
    """What decides a result.

    Attributes:
        volume: SHA-256 of the volume's file.
        slices: First slice, and the one after the last.
        size: Pixels a side.
        views, limited_angle, photons, protocol: The acquisition.
        method: Name of the method.
        options: All its options.
        seed: Seed of noise and sampling.
        prior: SHA-256 of the weights, if it needs any.
        device: `cpu` or `cuda`.
        code: SHA-256 of the source files that compute.
    """

    volume: str
    slices: tuple[int, int]
    size: int
    views: int | None
    limited_angle: int | None
    photons: float | None
    protocol: str
    method: str
    options: dict[str, Value | None]
    seed: int
    prior: str | None
    device: str
    code: str

    @property
    def key(self) -> str:
        """SHA-256 of the canonical JSON."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    @property
    def acquisition(self) -> Acquisition:
        """The acquisition, without a label of its own."""
        return Acquisition("-", self.views, self.limited_angle, self.photons, self.protocol)  # type: ignore[arg-type]


class Times(msgspec.Struct, frozen=True):
    """What a run cost, and where: the part of a result that is not the same twice.

    Attributes:
        seconds: Wall-clock time of the reconstruction, without evaluation.
        peak_mib: Most memory of the process in MiB, if the system tells.
        gpu_peak_mib: Most memory on the GPU in MiB, if there is one.
        finished: Day, UTC.
        hardware: CPU, cores and threads, GPU.
    """

    seconds: float
    peak_mib: float | None
    gpu_peak_mib: float | None
    finished: str
    hardware: str


class Result(msgspec.Struct, frozen=True):
    """What came of a cell.

    Attributes:
        figures: As of `metrics.evaluate`; null is a figure that there is none of.
        total_variation, total_variation_truth: Along z, in x.
        groups: Evaluations of the network, counted in groups of three slices.
        calls: Calls of the network, of a batch of groups each.
        trace: Steps done, and the axial PSNR of the estimate then.
    """

    cell: Cell
    figures: dict[str, dict[str, float | None]]
    total_variation: float
    total_variation_truth: float
    groups: int
    calls: int
    trace: tuple[tuple[int, float | None], ...]
    times: Times
    schema: str = SCHEMA


def files_of(folder: Path, key: str) -> tuple[Path, Path]:
    """Return where the figures and the volume of a cell are kept."""
    return folder / FOLDER / f"{key}.json", folder / FOLDER / f"{key}.npz"


def load_result(folder: Path, key: str) -> Result | None:
    """Return what is kept of a cell; none if it must be run (again)."""
    figures, volume = files_of(folder, key)
    try:
        result = msgspec.json.decode(figures.read_bytes(), type=Result)
    except (OSError, ValueError):
        return None
    return result if volume.is_file() and result.schema == SCHEMA else None


def load_hu(folder: Path, key: str) -> np.ndarray:
    """Return the volume (slices, rows, columns) of a cell, float32, in whole HU."""
    with np.load(files_of(folder, key)[1], allow_pickle=False) as file:
        return file["hu"].astype(np.float32)


def save(folder: Path, result: Result, hu: np.ndarray) -> None:
    """Keep a result: the volume first, so that where there are figures there is a volume."""
    key = result.cell.key
    make_folder(folder / FOLDER)
    figures, volume = files_of(folder, key)
    with atomic(volume) as temporary:
        np.savez_compressed(temporary, hu=np.rint(hu).clip(-32768, 32767).astype(np.int16))
    with atomic(figures) as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")


def without_nan(figures: Figures) -> dict[str, dict[str, float | None]]:
    """Return figures with none for NaN and infinity, which JSON does not have."""
    return {
        plane: {name: v if np.isfinite(v) else None for name, v in values.items()}
        for plane, values in figures.items()
    }


@functools.cache
def code_digest(method: str) -> str:
    """Return the SHA-256 of the source files that compute, and of the method's own.

    Of what they do: comments, docstrings and line breaks may change, and no run is lost.
    """
    own = _source(method)
    if own is None or own.is_relative_to(_PACKAGE):
        return _package_digest()
    return hashlib.sha256(f"{_package_digest()} {_file_digest(own)}".encode()).hexdigest()


@functools.cache
def _package_digest() -> str:
    lines = [
        f"{path.relative_to(_PACKAGE).as_posix()} {_file_digest(path)}\n"
        for path in sorted(_PACKAGE.rglob("*.py"))
        if not any(path.is_relative_to(_PACKAGE / name) for name in _NO_NUMBERS + _NO_NUMBERS_FILES)
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    return source_digest(path.read_text(encoding="utf-8"))


def source_digest(text: str) -> str:
    """Return the SHA-256 of what Python source does: of its syntax tree without docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [s for s in node.body if not _is_text(s)]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_text(statement: ast.stmt) -> bool:
    """Tell whether a statement is a string alone: a docstring, of an attribute too."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _source(method: str) -> Path | None:
    with contextlib.suppress(TypeError, OSError):
        return Path(inspect.getfile(find_method(method)))
    return None
