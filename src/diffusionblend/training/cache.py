"""The cache: each volume once, as int16 HU in a `.npy` file that is mapped into memory.

An entry is named by the SHA-256 of its input files and of how they were read, so it is made once,
shared by all recipes with that cache, and found again after an interruption. `index.json` lists
every file: its entry, or why it was left out.
"""

import functools
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from diffusionblend._version import __version__
from diffusionblend.data.volume import Volume, square_pixel_mm
from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.io.files import (
    as_utf8,
    atomic,
    files_of,
    has_suffix,
    make_folder,
    sha256,
    write_file,
)
from diffusionblend.io.find import Candidate, find_volumes
from diffusionblend.io.formats.registry import stem
from diffusionblend.prior.facing import front_first
from diffusionblend.progress import counted
from diffusionblend.training.pack import SUFFIX, Packed, read_pack
from diffusionblend.training.recipe import Folder, Plan, Recipe
from diffusionblend.training.samples import Source, likeness

log = logging.getLogger(__name__)

INDEX = "index.json"
LAID = "front first"
"""How bodies lie in their slices, whatever their files say: as a prior sees them."""


class Entry(msgspec.Struct, frozen=True):
    """The entry of a volume in the cache.

    Attributes:
        stamp: This program's version, size and time of change of its files: while they stay as
            they are, nothing is read again.
        digest: SHA-256 of its files and of the window: the name of its entry.
        content: SHA-256 of its voxels; empty if it was left out.
        reason: Why it was left out; empty if it was not.
        voxel_mm: Distance of its slices and of its pixels; none if it was left out, and in an
            index of an earlier version.
        likeness: What its voxels share with their mirror images; empty likewise.
    """

    stamp: str
    digest: str
    content: str = ""
    reason: str = ""
    voxel_mm: tuple[float, float] | None = None
    likeness: str = ""


def load_sources(recipe: Recipe, root: Path) -> tuple[list[Source], list[str]]:
    """Return the volumes of a recipe, mapped into memory; prepare those that are not yet.

    Returns:
        The volumes, and one line for each that was left out, with the reason.
    """
    cache = Cache(root / (recipe.cache or f"{recipe.output}/cache"), recipe.window)
    sources: list[Source] = []
    left_out: list[str] = []
    seen: dict[str, str] = {}
    for folder in recipe.data:
        for candidate in counted("volumes", candidates(folder, root)):
            entry = cache.entry(candidate)
            twin = seen.get(entry.likeness)
            reason = entry.reason or (twin and f"the same voxels as {twin}")
            if reason:
                left_out.append(f"{candidate.name}: {reason}")
                continue
            seen[entry.likeness] = candidate.name
            sources.append(_source(candidate, entry, cache.voxels(entry), folder))
    if not sources:
        reasons = "; ".join(left_out) or "there is no volume in it"
        places = ", ".join(f.path for f in recipe.data)
        raise CorruptInput(f"{places}: nothing to train on ({reasons}); name a folder of CT")
    return sources, left_out


def _source(candidate: Candidate | Packed, entry: Entry, hu: np.ndarray, folder: Folder) -> Source:
    """Return a volume to draw from: a pack knows weight and scales, which a recipe adds to."""
    weight, scale, finest = folder.weight, folder.scale, folder.finest
    voxel_mm = entry.voxel_mm
    if isinstance(candidate, Packed):
        weight, scale = candidate.weight * weight, candidate.scale * scale
        finest, voxel_mm = max(candidate.finest, finest), candidate.voxel_mm
    content, alike = entry.content, entry.likeness
    return Source(candidate.name, hu, weight, scale, finest, content, voxel_mm, alike)


def tell(sources: list[Source], left_out: list[str]) -> None:
    """Log what `load_sources` found, and each volume that it left out, with the reason."""
    for line in left_out:
        log.warning("left out: %s", line)
    slices = sum(len(s.hu) for s in sources)
    log.info("%d volumes (%d slices), %d left out", len(sources), slices, len(left_out))


def candidates(folder: Folder, root: Path) -> Sequence[Candidate | Packed]:
    """List what a recipe's folder or pack holds, sorted by name, without what is to be left out.

    A folder without volumes may hold packs.
    """
    place = root / folder.path
    if not (place.is_dir() or place.is_file()):
        raise CorruptInput(f"{place}: no such folder or pack; expected one of CT volumes")
    found: Sequence[Candidate | Packed]
    if place.is_file():
        found = read_pack(place)
    else:
        packs = sorted(file for file in place.iterdir() if has_suffix(file, (SUFFIX,)))
        found = find_volumes(place) or [volume for pack in packs for volume in read_pack(pack)]
    named = {candidate: _names(candidate.name) for candidate in found}
    for name in sorted({*folder.without, *folder.only}.difference(*named.values())):
        log.warning("%s: holds no volume %s, which the recipe names", place, name)
    without, only = set(folder.without), set(folder.only)
    return [c for c, names in named.items() if not names & without and (names & only or not only)]


def _names(name: str) -> set[str]:
    """Return what a recipe may call a volume: its name with its suffix, or without."""
    return {name, Path(name).with_name(stem(Path(name))).as_posix()}


class Cache:
    """A folder of prepared volumes."""

    def __init__(self, folder: Path, window: tuple[int, int]) -> None:
        make_folder(folder)
        self.folder, self.window = folder, window
        self._index = self._read_index()

    def entry(self, candidate: Candidate | Packed) -> Entry:
        """Return the entry of a candidate; read and store it if it is new or has changed."""
        # Names alone are those of other volumes too, in other folders.
        key = as_utf8(f"{candidate.files[0].resolve()}|{candidate.name}|{self.window}")
        stamp = _stamp(candidate.files)
        known = self._index.get(key)
        if known is None or known.stamp != stamp or not self._holds(known):
            self._index[key] = self._prepare(candidate, stamp)
            index = msgspec.json.format(msgspec.json.encode(self._index))
            write_file(self.folder / INDEX, index)
        return self._index[key]

    def voxels(self, entry: Entry) -> np.ndarray:
        """Return HU (slices, rows, columns), int16, mapped into memory."""
        return np.load(self._place(entry.digest), mmap_mode="r")

    def _holds(self, entry: Entry) -> bool:
        return bool(entry.reason) or (
            entry.voxel_mm is not None
            and entry.likeness != ""
            and self._place(entry.digest).is_file()
        )

    def _prepare(self, candidate: Candidate | Packed, stamp: str) -> Entry:
        digest = _digest(candidate, self.window)
        try:
            volume = front_first(candidate.read())
            pixel_mm = square_pixel_mm(volume.grid)
        except (CorruptInput, UnsupportedInput) as error:  # not a package that is missing
            return Entry(stamp, digest, reason=str(error))
        voxels = as_stored(volume, self.window)
        with atomic(self._place(digest)) as temporary, open(temporary, "wb") as file:
            np.save(file, voxels)
        content, slice_mm = hashlib.sha256(voxels.data).hexdigest(), volume.grid.spacing_mm[0]
        sizes = (slice_mm, pixel_mm)
        return Entry(stamp, digest, content, voxel_mm=sizes, likeness=likeness(voxels))

    def _place(self, digest: str) -> Path:
        return self.folder / f"{digest[:32]}.npy"

    def _read_index(self) -> dict[str, Entry]:
        try:
            text = (self.folder / INDEX).read_bytes()
            return msgspec.json.decode(text, type=dict[str, Entry])
        except (OSError, ValueError):  # none yet, or damaged: it is made again
            return {}


def as_stored(volume: Volume, window: tuple[int, int]) -> np.ndarray:
    """Return the voxels of a volume as a cache holds them: int16 HU within a window."""
    return np.ascontiguousarray(volume.hu.clip(*window).round().astype(np.int16))


def tell_if_seen(volume: Volume, recipe: Plan, sources: Sequence[Source]) -> None:
    """Warn of a volume to validate on that is among those that are trained on."""
    alike = likeness(as_stored(volume, recipe.window))
    for source in sources:
        if source.likeness == alike:
            log.warning(
                "%s: is also the volume of `validation`, whose figures then say nothing about "
                "other volumes; leave it out with `without`, or validate on another",
                source.name,
            )


def _stamp(files: Sequence[Path]) -> str:
    stats = [file.stat() for path in files for file in files_of(path)]
    return " ".join([__version__, LAID, *(f"{s.st_size}/{s.st_mtime_ns}" for s in stats)])


def _digest(candidate: Candidate | Packed, window: tuple[int, int]) -> str:
    inputs = [_sha256(path, _stamp([path])) for path in candidate.files]
    # The name tells the volumes of a pack apart.
    return hashlib.sha256(f"{inputs} {candidate.name} {window} {LAID}".encode()).hexdigest()


@functools.lru_cache
def _sha256(path: Path, stamp: str) -> str:
    return sha256(path)
