"""Kills, full disks, limits of memory and damage, many of each, and how many were lost by them.

    PYTHONPATH=tests python -m support.torture [--scale 0.1] [--seed 1] [--json OUT.json]

`make torture` runs it whole; `test_torture.py` runs a little of it. Each command is run in a fork
of this process, so that torch is imported once, in a folder that is made anew for each trial.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import importlib
import json
import math
import os
import pickle
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from diffusionblend.cli.commands.batch import SOME_FAILED
from diffusionblend.cli.main import main
from diffusionblend.errors import DiffusionBlendError, OutOfMemory, OutputError, PriorError
from diffusionblend.prior.store import load_network, read_config
from diffusionblend.prior.unet import UNetPrior
from diffusionblend.runs.record import find_record
from support.experiments import write_recipe
from support.measured import lines, write_geometry
from support.readers import READERS, write_all
from support.recipes import RECIPE
from support.small_data import make_data

HANG_SECONDS, READER_SECONDS = 60, 20
"""Of a command, and of a reader of one file, after which it hangs."""
KILLS, DISKS, LIMITS, DAMAGES = 40, 20, 10, 800
"""Trials of each command; of damage, of each reader."""
MIB, PAGE = 2**20, 4096


# Commands


@dataclass(frozen=True)
class Command:
    """A command, and what it makes.

    Attributes:
        words: Its words, run in a folder with `inputs`.
        results: Files that are the same bytes however often it was stopped.
        some_failed: Whether it ends with the code for that, not with the one of what they lacked.
    """

    words: tuple[str, ...]
    results: tuple[str, ...]
    some_failed: bool = False

    def refuses(self, code: int) -> int:
        """Return the exit code if there is too little of something, whose own code is `code`."""
        return SOME_FAILED if self.some_failed else code


COMMANDS = {
    "reconstruct": Command(
        ("reconstruct", "chest.h5", "--prior", "prior", "--steps", "3", "--save-state", "0",
         "--save-steps", "1", "--no-classical", "--resume", "-o", "o.nii.gz"),
        ("o.nii.gz",),
    ),
    "train": Command(("train", "recipe.toml"), ("run/prior/model.safetensors",
                                                "run/prior/config.json")),
    "benchmark": Command(("benchmark", "tiny.toml", "-o", "out"), ("out/results.json",)),
    "simulate": Command(
        ("simulate", "chest.nii.gz", "-o", "s.h5", "--truth", "t.nii.gz"), ("s.h5", "t.nii.gz")
    ),
    "batch": Command(
        ("batch", "chest.h5", "again.h5", "-o", "made", "--method", "sbtv",
         "--set", "iterations=3"),
        ("made/chest.nii.gz", "made/again.nii.gz"),
        some_failed=True,
    ),
    "import": Command(("import", "raw/y.npy", "-o", "i.h5"), ("i.h5",)),
    "report": Command(("report", "r.nii.gz", "-o", "r.html"), ("r.html",)),
    "evaluate": Command(("evaluate", "r.nii.gz", "chest.nii.gz"), ()),
}  # fmt: skip


def make_inputs(folder: Path) -> Path:
    """Make what all commands are run on."""
    data = make_data(folder)
    (folder / "volumes").mkdir()
    shutil.copy(data.volume, folder / "volumes")
    shutil.copy(folder / "chest.h5", folder / "again.h5")
    (folder / "recipe.toml").write_text(RECIPE.replace("steps = 6", "steps = 3"))
    write_recipe(dataclasses.replace(data, prior="prior", volume="chest.nii.gz"), folder)
    (folder / "raw").mkdir()
    np.save(folder / "raw/y.npy", lines())
    write_geometry(
        folder / "raw", file="y.npy", quantity="line-integrals", order=["view", "row", "bin"]
    )
    with contextlib.chdir(folder):
        assert main(["reconstruct", "chest.h5", "--method", "sbtv", "--set", "iterations=3",
                     "-o", "r.nii.gz"]) == 0  # fmt: skip
    return folder


def forked(work: Callable[[], int], log: Path) -> int:
    """Start work in a fork that says what it says in a file; return its process number."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        with open(log, "wb") as said:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
        code = work()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run(command: Command, folder: Path, before: Callable[[], None] | None = None) -> int:
    """Start a command in a folder; return the number of its process."""

    def work() -> int:
        os.chdir(folder)
        if before is not None:
            before()
        code = main(list(command.words))
        if before is None:
            (folder.parent / "modules").write_text("\n".join(sys.modules), encoding="utf-8")
        return code

    return forked(work, folder.parent / "log")


def ended(process: int, seconds: float = HANG_SECONDS) -> int:
    """Wait for a process; return its exit code, or minus its signal; one that hangs is ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    raise TimeoutError


@dataclass
class Trials:
    """What became of the trials of one kind: counts, and a line for each that went wrong."""

    counts: Counter
    wrong: list[str]


@dataclass(frozen=True)
class Whole:
    """A command that nothing stopped.

    Attributes:
        results: The digests of what it made.
        seconds: How long it took.
        pages: How much of a disk is taken besides the inputs when it has ended.
    """

    results: dict[str, str]
    seconds: float
    pages: int


class Torture:
    """All trials, with what they need.

    Args:
        folder: Where they are done.
        seed: Of all that is random.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        (folder / "inputs").mkdir()
        self.inputs = make_inputs(folder / "inputs")
        self.whole: dict[str, Whole] = {}

    def fresh(self, place: Path | None = None) -> Path:
        """Return a folder with nothing but the inputs."""
        place = place or self.folder / "place"
        if place.is_mount():
            for entry in place.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        else:
            shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.inputs, place, dirs_exist_ok=True)
        return place

    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def expected(self, name: str) -> Whole:
        """Run a command that nothing stops, once."""
        if name not in self.whole:
            assert ended(run(COMMANDS[name], self.fresh())) == 0, self.log()
            for module in (self.folder / "modules").read_text(encoding="utf-8").split():
                with contextlib.suppress(Exception):  # so that no trial imports it anew
                    importlib.import_module(module)
            place, began = self.fresh(), time.monotonic()
            assert ended(run(COMMANDS[name], place)) == 0, self.log()
            seconds = time.monotonic() - began
            pages = (size_of(place) - size_of(self.inputs)) // PAGE
            self.whole[name] = Whole(results(COMMANDS[name], place), seconds, pages)
        return self.whole[name]

    def kills(self, name: str, number: int) -> Trials:
        """Kill a command, at random or at a rename, and run it again."""
        whole = self.expected(name)
        made, seconds = whole.results, whole.seconds
        trials = Trials(Counter(), [])
        for trial in range(number):
            how = self.random.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
            at = self.random.choice([1, 1, 2, 3, 4, 6, 8]) if trial % 2 else None
            place = self.fresh()
            with told(trials, f"{name}, {how.name}, " + (f"rename {at}" if at else "at random")):
                process = run(COMMANDS[name], place, at and (lambda a=at, h=how: kill_at(a, h)))
                if at is None:
                    time.sleep(self.random.random() * seconds)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process, how)
                code = ended(process)
                trials.counts["ended before" if code == 0 else "killed"] += 1
                # Of the signal itself: before the command began, or when it had ended.
                assert code in (0, -how, 128 + how), f"code {code}: {self.log()[-300:]}"
                assert "Traceback" not in self.log(), self.log()[-600:]
                check_visible(COMMANDS[name], place, made)
                assert ended(run(COMMANDS[name], place)) == 0, self.log()[-600:]
                assert results(COMMANDS[name], place) == made, "other bytes after the second run"
                assert not list(place.rglob(".*-*")), "left-overs stay"
        return trials

    def disks(self, name: str, number: int) -> Trials:
        """Run a command on a disk that may be too small."""
        whole = self.expected(name)
        made, trials, needed = whole.results, Trials(Counter(), []), size_of(self.inputs)
        for _ in range(number):
            room = PAGE * self.random.randint(0, 2 * whole.pages + 1)
            with (
                told(trials, f"{name}, {room} bytes"),
                small_disk(self.folder / "disk", needed + room) as place,
            ):
                code = ended(run(COMMANDS[name], self.fresh(place)))
                full = COMMANDS[name].refuses(OutputError.code)
                trials.counts["it fits" if code == 0 else "full"] += 1
                assert code in (0, full), f"code {code}: {self.log()[-600:]}"
                assert "Traceback" not in self.log(), self.log()[-600:]
                check_visible(COMMANDS[name], place, made)
                assert code or results(COMMANDS[name], place) == made, "other bytes"
        return trials

    def limits(self, name: str, number: int) -> Trials:
        """Run a command with less memory than it may need."""
        made = self.expected(name).results
        trials = Trials(Counter(), [])
        for _ in range(number):
            more = int(60 ** self.random.random() * MIB)
            place = self.fresh()
            with told(trials, f"{name}, {more // MIB} MiB more than there are"):
                code = ended(run(COMMANDS[name], place, lambda m=more: limit_memory(m)))
                trials.counts["it fits" if code == 0 else "not enough"] += 1
                assert code in (0, COMMANDS[name].refuses(OutOfMemory.code)), (
                    f"code {code}: {self.log()[-600:]}"
                )
                assert "Traceback" not in self.log(), self.log()[-600:]
                check_visible(COMMANDS[name], place, made)
        return trials

    def prepare(self, place: Path) -> None:
        """Make a file of every kind that is read."""
        write_all(place)
        assert ended(run(COMMANDS["train"], place)) == 0
        stopped = Command((*COMMANDS["reconstruct"].words[:-1], "k.nii.gz"), ())
        ended(run(stopped, place, lambda: kill_at(7, signal.SIGKILL)))

    def damages(self, name: str, number: int) -> Trials:
        """Damage a file and read it, in forks of a hundred."""
        file, read = READERS[name].file, READERS[name].read
        place = self.fresh()
        self.prepare(place)
        whole, trials = (place / file).read_bytes(), Trials(Counter(), [])
        expected = read(place / file)
        for first in range(0, number, 100):
            damaged = [damage(whole, self.random) for _ in range(min(100, number - first))]
            work = lambda d=damaged: read_all(place / file, read, d, expected)  # noqa: E731
            child = forked(work, self.folder / "log")
            with told(trials, name):
                # Each file has its own limit.
                assert ended(child, math.inf) == 0, self.log()[-300:]
                with open(place / "outcomes", "rb") as outcomes:
                    trials.counts.update(pickle.load(outcomes))  # of our own process
        return trials


@contextlib.contextmanager
def told(trials: Trials, what: str):
    """Keep what went wrong in a trial, and go on to the next."""
    try:
        yield
    except TimeoutError:
        trials.wrong.append(f"{what}: hangs")
    except AssertionError as error:
        trials.wrong.append(f"{what}: {error}")


def results(command: Command, place: Path) -> dict[str, str]:
    """Return the digests of what a command makes."""
    return {name: hashlib.sha256((place / name).read_bytes()).hexdigest()
            for name in command.results}  # fmt: skip


def check_visible(command: Command, place: Path, made: dict[str, str]) -> None:
    """Check that what has a final name is whole: a training's is that of some step."""
    for name in command.results:
        path = place / name
        if not path.exists() or "run/" in name:
            continue
        assert hashlib.sha256(path.read_bytes()).hexdigest() == made[name], f"{name} is partial"
    if (place / "run/prior/config.json").exists():
        with contextlib.suppress(PriorError):  # beside other weights it is refused
            config = read_config(place / "run/prior")
            load_network(place / "run/prior", config, UNetPrior)
    if (place / "o.nii.gz").exists():
        find_record(place / "o.nii.gz")


def kill_at(rename: int, how: signal.Signals) -> None:
    """Let this process be killed at its n-th rename, before it or behind it."""
    calls, replace = [], os.replace

    def kill(*paths) -> None:
        calls.append(paths)
        if len(calls) == rename and rename % 2:
            os.kill(os.getpid(), how)
        replace(*paths)
        if len(calls) == rename:
            os.kill(os.getpid(), how)

    os.replace = kill


def limit_memory(more: int) -> None:
    """Let this process have so much more address space than it has now."""
    text = Path("/proc/self/statm").read_text(encoding="ascii")
    now = int(text.split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + more, now + more))


def size_of(folder: Path) -> int:
    """Return the bytes of a folder in pages, as a file system in memory counts them."""
    return sum(-(-p.stat().st_size // PAGE) * PAGE for p in folder.rglob("*") if p.is_file())


@contextlib.contextmanager
def small_disk(place: Path, size: int):
    """Mount a file system of so many bytes in memory."""
    place.mkdir(exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    subprocess.run(words, check=True, capture_output=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def can_mount(folder: Path) -> bool:
    """Return whether a file system can be mounted here."""
    try:
        with small_disk(folder / "probe", MIB):
            return True
    except (subprocess.CalledProcessError, FileNotFoundError):
        return False


# Damage


def damage(whole: bytes, generator: random.Random) -> bytes:
    """Return damaged bytes: bits, a block of zeros or of another place, a cut, or more of them."""
    raw, at = bytearray(whole), generator.randrange(len(whole))
    size = min(len(whole) - at, 2 ** generator.randrange(10))
    kind = generator.choice(["bit", "bit", "bits", "zeros", "copy", "cut", "longer"])
    if kind in ("bit", "bits"):
        for _ in range(1 if kind == "bit" else generator.randrange(2, 20)):
            raw[generator.randrange(len(raw))] ^= 1 << generator.randrange(8)
    elif kind == "zeros":
        raw[at : at + size] = bytes(size)
    elif kind == "copy":
        other = generator.randrange(len(whole) - size + 1)
        raw[at : at + size] = whole[other : other + size]
    elif kind == "cut":
        del raw[at:]
    else:
        raw += generator.randbytes(size)
    return bytes(raw)


def read_all(
    path: Path, read: Callable[[Path], bytes], damaged: list[bytes], expected: bytes
) -> int:
    """Read damaged files one after another; write what became of them in `outcomes`."""
    outcomes: Counter = Counter()
    for raw in damaged:
        path.write_bytes(raw)
        signal.alarm(READER_SECONDS)  # a reader that hangs ends the process
        try:
            found = read(path)
        except DiffusionBlendError:
            outcomes["refused"] += 1
        else:
            outcomes["the same" if found == expected else "other values"] += 1
    signal.alarm(0)
    root = next(p for p in path.parents if (p / "chest.h5").exists() or (p / "raw").is_dir())
    with open(root / "outcomes", "wb") as file:
        pickle.dump(outcomes, file)
    return 0


# All of it


def torture(folder: Path, scale: float, seed: int) -> dict[str, dict[str, Trials]]:
    """Do all trials, or a share of them."""
    it, found = Torture(folder, seed), {}
    stages = {
        "kills": (it.kills, COMMANDS, KILLS),
        "full disks": (it.disks, COMMANDS if can_mount(folder) else (), DISKS),
        "limits of memory": (it.limits, COMMANDS, LIMITS),
        "damaged inputs": (it.damages, READERS, DAMAGES),
    }
    for stage, (do, names, number) in stages.items():
        found[stage] = {}
        for name in names:
            damages = stage == "damaged inputs"
            slow = damages and READERS[name].walked
            trials = do(name, max(1, round(scale * number / (8 if slow else 1))))
            checked = damages and READERS[name].checked
            if checked and trials.counts["other values"]:
                trials.wrong.append(f"{name}: {trials.counts['other values']} read as other values")
            found[stage][name] = trials
            counts = ", ".join(f"{count} {what}" for what, count in sorted(trials.counts.items()))
            print(f"{stage:17} {name:26} {counts}; {len(trials.wrong)} wrong", flush=True)
            for line in trials.wrong:
                print(f"    {' '.join(line.split())[:400]}", flush=True)
    return found


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="share of the trials")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where the counts go")
    return parser.parse_args()


if __name__ == "__main__":
    options = parse()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        outcome = torture(Path(temporary), options.scale, options.seed)
    counted = {
        stage: {name: {"counts": t.counts, "wrong": t.wrong} for name, t in trials.items()}
        for stage, trials in outcome.items()
    }
    if options.json:
        options.json.write_text(json.dumps(counted, indent=2) + "\n")
    totals = {
        s: sum(sum(t.counts.values()) for t in trials.values()) for s, trials in outcome.items()
    }
    bad = sum(len(t.wrong) for trials in outcome.values() for t in trials.values())
    print(", ".join(f"{count} {stage}" for stage, count in totals.items()), f"; {bad} wrong")
    sys.exit(bad > 0)
