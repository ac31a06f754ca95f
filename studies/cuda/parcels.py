"""Carry files through a gate that lets only small ones pass: split here, joined and checked there.

`parcels.py split FOLDER -o PLACE/NAME` puts a folder into NAME.tar.1, NAME.tar.2, ... of at most
--mib MiB each, and NAME.json, which holds the SHA-256 of each. `parcels.py join PLACE/NAME.json -o
FOLDER` checks them and takes the folder out again. `parcels.py loads FILE... -o FOLDER` distributes
the files of a folder over as few of at most --mib MiB as come out.
"""

import argparse
import hashlib
import json
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

MIB = 2**20


class Refused(Exception):
    """What cannot be carried, in words."""


def split(
    folder: Path,
    output: Path,
    mib: float,
    *,
    match: Sequence[str] = ("**/*",),
    most_mib: float = float("inf"),
) -> list[Path]:
    """Write the parts of a folder, and the list of them; remove those of an earlier call.

    Args:
        folder: What to carry; it is taken out under its own name.
        output: Folder and name of the parts.
        mib: Largest size of a part.
        match: Patterns of the files in it that are carried.
        most_mib: Largest size of all; more is refused.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    for earlier in (*output.parent.glob(f"{output.name}.tar.*"), output.with_suffix(".json")):
        earlier.unlink(missing_ok=True)
    files = sorted({path for one in match for path in folder.glob(one) if path.is_file()})
    if not files:
        raise Refused(f"{folder}: nothing in it is {' or '.join(match)}")
    with tempfile.TemporaryFile() as whole:
        with tarfile.open(fileobj=whole, mode="w") as archive:
            for path in files:
                archive.add(path, path.relative_to(folder.parent))
        if whole.tell() > most_mib * MIB:
            raise Refused(f"{folder}: {whole.tell() / MIB:.1f} MiB, more than {most_mib:g} in all")
        whole.seek(0)
        parts = {}
        while content := whole.read(int(mib * MIB)):
            part = output.with_name(f"{output.name}.tar.{len(parts) + 1}")
            part.write_bytes(content)
            parts[part.name] = hashlib.sha256(content).hexdigest()
    listed = output.with_suffix(".json")
    listed.write_text(json.dumps({"parts": parts}, indent=2) + "\n", encoding="utf-8")
    return [listed, *(output.with_name(name) for name in parts)]


def join(listed: Path, place: Path) -> None:
    """Check the parts of a list, and take the files out into a folder."""
    try:
        parts = json.loads(listed.read_text(encoding="utf-8"))["parts"]
    except (OSError, ValueError, KeyError) as error:
        raise Refused(f"{listed}: no list of parts ({error})") from error
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile() as whole:
        for name, expected in parts.items():
            part = listed.parent / Path(name).name
            content = part.read_bytes() if part.is_file() else b""
            if hashlib.sha256(content).hexdigest() != expected:
                raise Refused(f"{part}: is missing or damaged; bring all parts again")
            whole.write(content)
        whole.seek(0)
        with tarfile.open(fileobj=whole) as archive:
            archive.extractall(place, filter="data")


def loads(paths: list[Path], output: Path, mib: float) -> list[Path]:
    """Move files of a folder into load-1, load-2, ... of at most `mib` MiB there, first fit.

    Args:
        paths: The files; each keeps its place below `output`.
        output: The folder. Loads of an earlier call are removed.
        mib: Largest size of a load.
    """
    for earlier in output.glob("load-*"):
        shutil.rmtree(earlier)
    room: list[float] = []
    for path in sorted(paths, key=lambda p: (-p.stat().st_size, p)):
        size = path.stat().st_size / MIB
        if size > mib:
            raise Refused(f"{path}: {size:.1f} MiB, more than the {mib:g} of a load; split it")
        if not any(left >= size for left in room):
            room.append(mib)
        number = next(n for n, left in enumerate(room) if left >= size)
        room[number] -= size
        target = output / f"load-{number + 1}" / path.relative_to(output)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
    return [output / f"load-{n + 1}" for n in range(len(room))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=("split", "join", "loads"))
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--mib", type=float, default=15.0, help="largest part or load, in MiB")
    parser.add_argument("--match", nargs="+", default=["**/*"], help="files that are split")
    parser.add_argument("--most", type=float, default=float("inf"), help="largest whole, in MiB")
    try:
        run(parser.parse_args())
    except (Refused, OSError) as error:
        sys.exit(f"parcels: {error}")


def run(options: argparse.Namespace) -> None:
    first, output, mib = options.paths[0], options.output, options.mib
    if options.work == "join":
        join(first, output)
    elif options.work == "split":
        tell(split(first, output, mib, match=options.match, most_mib=options.most))
    else:
        tell(loads(options.paths, output, mib))


def tell(made: list[Path]) -> None:
    """Print the size of files and folders."""
    for path in made:
        files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
        print(f"{path}: {sum(p.stat().st_size for p in files) / MIB:.1f} MiB")


if __name__ == "__main__":
    main()
