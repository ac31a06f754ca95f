"""Files in object stores (`s3://`, `gs://`) and in whatever else fsspec knows, by their addresses.

An object is put whole or not at all, and replaced by a whole one. Where a method has the name of
one of `pathlib.Path`, it does the same, so that both can be written for a `Place`.
"""

import contextlib
import fnmatch
import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from diffusionblend.errors import CorruptInput, DiffusionBlendError, UsageError
from diffusionblend.io.files import PathLike, write_file
from diffusionblend.machine.packages import install

EXTRA = "cloud"
_S3 = "s3", "s3a"


@dataclass(frozen=True)
class Told:
    """What a store says of an object: its size, and when it was put; 0 if it does not say."""

    st_size: int
    st_mtime: float

    @property
    def st_mtime_ns(self) -> int:
        """The time in nanoseconds."""
        return round(self.st_mtime * 10**9)


@dataclass(frozen=True)
class Remote:
    """A file, or a folder of files, in a store.

    Each method raises UsageError where the store cannot be used from here, and `blames` where it
    does not do what it is asked for.

    Attributes:
        url: Its address.
        blames: What a failure is: that of an input, or of an output.
    """

    url: str
    blames: type[DiffusionBlendError] = CorruptInput

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> "Remote":
        return replace(self, url=f"{self.url}/{name}")

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """What the name ends with, with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> "Remote":
        """The folder."""
        return replace(self, url=self.url.rpartition("/")[0])

    def with_name(self, name: str) -> "Remote":
        """Return the address beside this one that has another name."""
        return self.parent / name

    def relative_to(self, folder: "Remote") -> PurePosixPath:
        """Return where it lies in a folder."""
        return PurePosixPath(self.url.removeprefix(folder.url).lstrip("/"))

    def absolute(self) -> "Remote":
        """Return itself."""
        return self

    def is_file(self) -> bool:
        """Return whether there is an object of this name."""
        return self._kind() == "file"

    exists = is_file

    def is_dir(self) -> bool:
        """Return whether there are objects below it."""
        return self._kind() == "directory"

    def stat(self) -> Told:
        """Return size and time of an object.

        Raises:
            FileNotFoundError: There is none.
        """
        with self._told() as (store, path):
            facts = store.info(path)
            when = next(filter(None, map(facts.get, ("LastModified", "mtime", "created"))), 0)
            return Told(facts["size"] or 0, _seconds(when))

    def read_bytes(self) -> bytes:
        """Return what is in an object.

        Raises:
            FileNotFoundError: There is none.
        """
        with self._told() as (store, path):
            return store.cat_file(path)

    def sha256(self) -> str:
        """Return the SHA-256 of an object as hex; it is read, and not kept."""
        with self._told() as (store, path), store.open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def write_bytes(self, data: bytes) -> None:
        """Put an object."""
        with self._in_bucket() as (store, path):
            store.pipe_file(path, data)

    def create(self, data: bytes) -> None:
        """Put an object if there is none.

        Raises:
            FileExistsError: There is one.
        """
        with self._in_bucket() as (store, path):
            store.pipe_file(path, data, mode="create")

    def touch(self) -> None:
        """Put what is there again, so that its time is that of now."""
        self.write_bytes(self.read_bytes())

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove an object."""
        try:
            with self._told() as (store, path):
                store.rm_file(path)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def find(self) -> list["Remote"]:
        """Return all objects below."""
        with self._in_bucket() as (store, path):
            return self._all(path, store.find(path))

    def iterdir(self) -> list["Remote"]:
        """Return the objects of a folder, without those in folders of it."""
        with self._in_bucket() as (store, path):
            return self._all(path, store.find(path, maxdepth=1))

    def glob(self, pattern: str) -> list["Remote"]:
        """Return the objects of a folder whose names match a pattern."""
        return [each for each in self.iterdir() if fnmatch.fnmatchcase(each.name, pattern)]

    def matching(self, root: "Remote") -> list["Remote"]:
        """Return the objects below `root` whose addresses match this one, which is a pattern."""
        with self._told() as (store, path):
            top = store._strip_protocol(root.url)
            return root._all(top, [each for each in store.glob(path) if store.isfile(each)])

    def get(self, path: Path) -> Told:
        """Copy an object to a file; return its size and time."""
        try:
            told = self.stat()
            with self._told() as (store, remote):
                store.get_file(remote, str(path))
        except FileNotFoundError as error:
            raise self.blames(
                f"{self}: there is no such object or bucket; check the address"
            ) from error
        self._check(path, told)
        return told

    def put(self, path: Path) -> None:
        """Put a file in place of an object, and look whether all of it is there."""
        with self._in_bucket() as (store, remote):
            store.put_file(str(path), remote)
        self._check(path, self.stat())

    def _check(self, path: Path, told: Told) -> None:
        here = path.stat().st_size
        if here != told.st_size:
            raise self.blames(
                f"{self}: has {told.st_size} bytes in the store and {here} here; try again"
            )

    def _kind(self) -> str:
        with self._told() as (store, path):
            try:
                return store.info(path)["type"]
            except FileNotFoundError:
                return ""

    def _all(self, top: str, paths: list[str]) -> list["Remote"]:
        return [self / path.removeprefix(top).lstrip("/") for path in sorted(paths)]

    @contextlib.contextmanager
    def _in_bucket(self) -> Iterator[tuple[Any, str]]:
        """Do as `_told`, where nothing but the bucket can be missing."""
        try:
            with self._told() as opened:
                yield opened
        except FileNotFoundError as error:
            raise self.blames(
                f"{self}: there is no such bucket; make it, or check the address"
            ) from error

    @contextlib.contextmanager
    def _told(self) -> Iterator[tuple[Any, str]]:
        """Yield the store and the path in it; say in one line why it fails."""
        store, path = _opened(self.url)
        try:
            yield store, path
        except (DiffusionBlendError, FileNotFoundError, FileExistsError):
            raise
        except Exception as error:  # each store has its own
            raise self.blames(f"{self}: {_reason(error)}") from error


Place: TypeAlias = Path | Remote
"""Where a file is: on a disk, or in a store."""


def place_of(given: PathLike, blames: type[DiffusionBlendError] = CorruptInput) -> Place:
    """Return the place that a path or an address means.

    Args:
        given: What was given.
        blames: What it is if a store fails.
    """
    text = os.fspath(given)
    return Remote(text.rstrip("/"), blames) if "://" in text else Path(text)


@contextlib.contextmanager
def fetched(place: Place) -> Iterator[Path]:
    """Yield a file of this machine with what is at a place: itself, or a copy until the end."""
    if isinstance(place, Path):
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="diffusionblend-") as here:
        copy = Path(here, place.name)
        place.get(copy)
        try:
            yield copy
        except DiffusionBlendError as error:
            raise type(error)(str(error).replace(str(copy), str(place))) from error


def write_text(place: Place, text: str) -> None:
    """Write a text: whole or not at all."""
    if isinstance(place, Remote):
        place.write_bytes(text.encode())
    else:
        write_file(place, text)


def _opened(url: str) -> tuple[Any, str]:
    """Return the store of an address, and the path in it."""
    scheme = url.partition("://")[0]
    try:
        import fsspec

        return fsspec.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        missing = getattr(error.__cause__ or error, "name", None) or scheme
        cure = install(EXTRA) if scheme in _S3 or missing == "fsspec" else f"pip install {missing}"
        raise UsageError(f"{url}: {missing} is not installed; run `{cure}`") from error
    except ValueError as error:
        raise UsageError(
            f"{url}: {scheme}:// is not a known store; expected s3://, gs:// or a path"
        ) from error


def _reason(error: Exception) -> str:
    """Say why a store failed, and what to do."""
    said = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, PermissionError) or "credential" in said.lower():
        return (
            f"the store refused access ({said}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
            "or AWS_PROFILE, for gs:// GOOGLE_APPLICATION_CREDENTIALS"
        )
    return f"the store failed ({said}); check the address, the network and AWS_ENDPOINT_URL"


def _seconds(when: Any) -> float:  # noqa: ANN401 - each store says it in its own way
    if isinstance(when, str):
        when = datetime.fromisoformat(when)
    return when.timestamp() if isinstance(when, datetime) else float(when)
