"""Who is at which scan: a file for each claim, in a folder or a store that machines may share.

`FOLDER/.batch/owners` has a file for each process that works on the batch, touched every few
seconds; `FOLDER/.batch/claims` one for each scan that is being made, which names its owner. An
owner of this machine is dead when its process is gone. One of another machine is dead when it has
not touched its file for some minutes by the clock of the file system, so that clocks of machines
are not compared. If two take over the claim of a dead one at once, both make the same bytes. A
store is asked to put a claim if there is none (S3's If-None-Match); if it cannot do that, two
batches may make the same scan.
"""

import contextlib
import hashlib
import os
import secrets
import threading
from pathlib import Path

from diffusionblend.errors import OutputError
from diffusionblend.io.files import Dispensable, lives, make_folder, owner, writing
from diffusionblend.io.remote import Place, Remote

PLACE = ".batch"
TOUCH_SECONDS = 15.0
STALE_SECONDS = 180.0
"""Longer than file systems of networks remember the times of files (60 s)."""


class Claims:
    """The claims of this process on the scans of a folder; gives them back at the end.

    Args:
        folder: The folder of the batch.
        kind: What distinguishes batches that make other volumes from the same scans.
    """

    def __init__(self, folder: Place, kind: str) -> None:
        self._folder, self._kind = folder, kind
        self._owners, self._claims = folder / PLACE / "owners", folder / PLACE / "claims"
        self._me = f"{owner()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._held: set[str] = set()
        self._ended = threading.Event()
        self._touching = threading.Thread(target=self._touch_on, daemon=True)

    def __enter__(self) -> "Claims":
        for place in (self._owners, self._claims):
            if isinstance(place, Path):
                make_folder(place)
        self._write(self._owners / self._me, self._kind)
        try:
            self._check_others()
            for claim in self._claims.iterdir():
                if self._is_left(claim):
                    claim.unlink(missing_ok=True)
        except OutputError:
            (self._owners / self._me).unlink()
            raise
        self._touching.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        for name in list(self._held):
            # One that a signal has kept from being written belongs to nobody yet.
            if _text(self._claim(name)) in ("", self._me):
                self.give_back(name)
        (self._owners / self._me).unlink(missing_ok=True)

    def take(self, name: str) -> bool:
        """Claim a scan by the name of its output; return whether nobody else is at it."""
        claim = self._claim(name)
        self._held.add(name)  # before the file is there: a signal may come as soon as it is
        for _ in range(2):
            try:
                self._write(claim, self._me)
            except FileExistsError:
                # A store that was asked twice, since its answer was lost, has it from us.
                if _text(claim) != self._me:
                    if not self._is_left(claim):
                        break
                    claim.unlink(missing_ok=True)
                    continue
            return True
        self._held.discard(name)
        return False

    def give_back(self, name: str) -> None:
        """End a claim."""
        self._claim(name).unlink(missing_ok=True)
        self._held.discard(name)

    def _claim(self, name: str) -> Place:
        return self._claims / hashlib.sha256(os.fsencode(name)).hexdigest()[:32]

    def _write(self, path: Place, text: str) -> None:
        """Write a new file: FileExistsError if it is there."""
        if isinstance(path, Remote):
            path.create(text.encode())
            return
        try:
            with open(path, "x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            raise
        except OSError:
            with writing(path):
                raise

    def _check_others(self) -> None:
        """Refuse a folder where another batch makes other volumes; forget the dead."""
        for path in self._owners.iterdir():
            if path.name == self._me:
                continue
            if self._is_dead(path.name):
                path.unlink(missing_ok=True)
            elif _text(path) not in ("", self._kind):
                raise OutputError(
                    f"{self._folder}: another batch is working there with other options; wait "
                    "until it ends, or choose another folder"
                )

    def _is_left(self, claim: Place) -> bool:
        """Return whether the owner of a claim is dead."""
        name = _text(claim)
        # A claim without a name is being written, or was left so by a machine that went down.
        return self._is_dead(name) if name else self._age(claim) > STALE_SECONDS

    def _is_dead(self, name: str) -> bool:
        machine, number, _ = name.split("-")
        here = machine == owner() and not lives(number)
        return here or self._age(self._owners / name) > STALE_SECONDS

    def _age(self, path: Place) -> float:
        """Return for how long a file was not touched; for ever if it is not there."""
        mine = self._owners / self._me
        try:
            mine.touch()
            return mine.stat().st_mtime - _changed(path)
        except FileNotFoundError:
            return float("inf")

    def _touch_on(self) -> None:
        lasting = Dispensable("a sign of life for other machines")
        while not self._ended.wait(TOUCH_SECONDS):
            with lasting, writing(Path(str(self._owners), self._me)):
                (self._owners / self._me).touch()


def _text(path: Place) -> str:
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes().decode()
    return ""


def _changed(path: Place) -> float:
    if isinstance(path, Remote):
        return path.stat().st_mtime
    with open(path, "rb") as file:  # an open file's times are asked of the server anew
        return os.fstat(file.fileno()).st_mtime
