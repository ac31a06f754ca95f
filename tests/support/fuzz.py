"""Fuzzing of every reader by coverage, with atheris: what is no expected failure is told and kept.

    PYTHONPATH=tests python -m support.fuzz [--minutes 20] [--only .nii] [--output out/fuzz]

`make fuzz` runs it. Each reader has a process of its own, which is begun anew where it crashes,
hangs or takes too much memory. What has a checksum is left out, since nothing comes behind that;
of a state, which is a zip, the facts within are changed.
"""

import argparse
import collections
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

HANG_SECONDS, MEMORY_MIB = 20, 2500
PACKAGES = [
    "diffusionblend.data", "diffusionblend.geometry", "diffusionblend.io", "diffusionblend.runs",
    "nibabel.nifti1", "nibabel.nifti2", "nrrd", "olefile", "pydicom", "tifffile",
]  # fmt: skip
"""Whose lines count as coverage."""
FACTS = "facts.npy"
_RUNS = re.compile(r"stat::number_of_executed_units: (\d+)")
_COVERED = re.compile(r"cov: (\d+)")


def inputs(folder: Path) -> None:
    """Make a file of every kind in a folder."""
    from support.torture import Torture

    place = folder / "trials"
    place.mkdir()
    it = Torture(place, seed=0)
    it.prepare(it.fresh(folder / "inputs"))


def fuzz(kind: str, folder: Path, kept: Path, seconds: int) -> None:
    """Fuzz one reader in this process, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=PACKAGES):
        from diffusionblend.errors import DiffusionBlendError
        from diffusionblend.io.projections.formats import walked
        from support.readers import READERS
    reader, walked._walk = READERS[kind], lambda *_: None  # third of a second for each input
    path, kept_whole = folder / "inputs" / reader.file, folder / "whole" / _name(kind)
    if not kept_whole.exists():  # a process that crashed has left in its place what it crashed on
        kept_whole.parent.mkdir(exist_ok=True)
        shutil.copy(path, kept_whole)
    whole, known = kept_whole.read_bytes(), set[str]()

    def once(raw: bytes) -> None:
        path.write_bytes(_packed(whole, raw) if kind.startswith("state") else raw)
        try:
            reader.read(path)
        except DiffusionBlendError:
            pass
        except Exception as error:  # that is what is looked for
            place = _place(error)
            if place not in known:
                known.add(place)
                _keep(kept, kind, raw, traceback.format_exc())
                print(f"FAULT {kind}: {place}", flush=True)

    corpus = folder / "corpus" / _name(kind)
    corpus.mkdir(parents=True, exist_ok=True)
    (corpus / "whole").write_bytes(_facts(whole) if kind.startswith("state") else whole)
    words = [f"-max_total_time={seconds}", f"-timeout={HANG_SECONDS}", "-print_final_stats=1"]
    words += [f"-rss_limit_mb={MEMORY_MIB}", f"-artifact_prefix={kept}/{corpus.name}-"]
    atheris.Setup([sys.argv[0], *words, str(corpus)], once)
    atheris.Fuzz()


def _place(error: BaseException) -> str:
    """Return what tells one fault from another: its type, and where it was raised."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}"


def _keep(kept: Path, kind: str, raw: bytes, told: str) -> None:
    name = f"{_name(kind)}-{hashlib.sha256(raw).hexdigest()[:8]}"
    (kept / name).write_bytes(raw)
    (kept / f"{name}.txt").write_text(told, encoding="utf-8")


def _name(kind: str) -> str:
    return re.sub("[^a-z0-9]+", "-", kind.lower()).strip("-")


def _facts(whole: bytes) -> bytes:
    import numpy as np

    with np.load(io.BytesIO(whole)) as file:
        return file["facts"].tobytes()


def _packed(whole: bytes, facts: bytes) -> bytes:
    """Return a state with other facts, under checksums that are right."""
    import numpy as np

    packed = io.BytesIO()
    with np.load(io.BytesIO(whole)) as file:
        arrays = {name: file[name] for name in file.files if file[name].size < 100}
    np.savez(packed, **arrays | {"facts": np.frombuffer(facts, np.uint8)})
    return packed.getvalue()


def _all_refused(kept: Path, kind: str) -> bool:
    """Return whether what ended the process is refused, since another walks through it."""
    from diffusionblend.errors import CorruptInput
    from diffusionblend.io.projections.formats.walked import walk
    from support.readers import READERS

    found = [*kept.glob(f"{_name(kind)}-*-*")] if READERS[kind].walked else []
    for path in found:
        try:
            walk(path)
        except CorruptInput:
            path.unlink()
    return bool(found) and not any(path.exists() for path in found)


def kinds() -> list[str]:
    """Return the readers that are fuzzed."""
    from support.readers import READERS

    return [name for name, r in READERS.items() if not r.checked or "reconstruction" in name]


def fuzz_for(kind: str, folder: Path, kept: Path, seconds: float) -> collections.Counter:
    """Fuzz a reader for so long, however often it ends its process."""
    counts, end = collections.Counter(), time.monotonic() + seconds
    words = [sys.executable, "-m", "support.fuzz", "--one", kind, "--folder", str(folder)]
    while (left := int(end - time.monotonic())) > 0:
        done = subprocess.run(
            [*words, "--output", str(kept), "--seconds", str(left)],
            check=False, capture_output=True, text=True, errors="replace", env=os.environ,
        )  # fmt: skip
        said = done.stdout + done.stderr
        counts["inputs"] += sum(map(int, _RUNS.findall(said)))
        counts["lines"] = max(counts["lines"], *map(int, _COVERED.findall(said)), 0)
        counts["faults"] += said.count("FAULT ")
        if done.returncode and _all_refused(kept, kind):
            counts["ends that a walk refuses"] += 1
        elif done.returncode:
            counts["ends of the process"] += 1
            (kept / f"{_name(kind)}-end.txt").write_text(said[-20_000:], encoding="utf-8")
    return counts


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20, help="for all readers together")
    parser.add_argument("--only", nargs="*", help="kinds of files")
    parser.add_argument("--output", type=Path, default=Path("out/fuzz"), help="for faults")
    parser.add_argument("--folder", type=Path, help="where inputs and corpora are kept")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def main(options: argparse.Namespace) -> int:
    """Fuzz all readers; return 1 if there were faults."""
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "inputs").exists():
            folder.mkdir(exist_ok=True)
            inputs(folder)
        chosen, bad = options.only or kinds(), 0
        for kind in chosen:
            found = fuzz_for(kind, folder, options.output, 60 * options.minutes / len(chosen))
            print(f"{kind:26}", ", ".join(f"{n} {what}" for what, n in found.items()), flush=True)
            bad += found["faults"] + found["ends of the process"]
    return int(bad > 0)


if __name__ == "__main__":
    asked = parse()
    if asked.one:
        fuzz(asked.one, asked.folder, asked.output, asked.seconds)
    else:
        sys.exit(main(asked))
