"""A batch of 40 small scans on a Ray cluster whose workers, nodes and driver are killed.

`python studies/many_scans.py FOLDER` makes the scans, what single commands make of them, and a
cluster of two nodes (raylets) on this machine. While a batch runs there, a worker is killed by
SIGKILL every few seconds, one node is taken away and another added, and the batch itself is killed
and started again. At the end it says what was made, and whether the bytes are those of the single
commands. One scan more is damaged.
"""

import contextlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import torch

import diffusionblend as db
from diffusionblend.cli.main import main as run_command

SCANS, NODE_CORES = 40, 2
KILL_EVERY = float(os.environ.get("KILL_EVERY", "5"))
"""Seconds; a new worker takes some of them to import PyTorch before it does anything."""
GRID = db.Grid.from_spacing((9, 32, 32), (2.0, 2.0, 2.0))
PRIOR = {"widths": (8, 16), "blocks": (1, 1), "data_mean": -0.5, "data_std": 0.5}
OPTIONS = [
    "--method", "diffusionblend++", "--steps", "120", "--no-classical", "--threads", "1",
    "--save-state", "0.5", "--device", "cpu",
]  # fmt: skip


def make_scans(folder: Path) -> None:
    """Write the scans of discs, and one whose end is cut off."""
    folder.mkdir(parents=True)
    geometry = db.Geometry(GRID, db.parallel_beam(GRID, db.sparse_view(12)))
    A = db.projector(*geometry)
    rows, columns = np.mgrid[:32, :32] - 15.5
    for index in range(SCANS):
        disc = (rows - index % 7 + 3) ** 2 + (columns - index // 7 + 3) ** 2 < 64
        body = np.broadcast_to(disc, GRID.shape).astype(np.float32)
        y = 0.02 * 2.0 * A(torch.from_numpy(body.copy())).numpy()
        db.write_scan(db.Scan(y, geometry, mu_water=0.02), folder / f"s{index:02d}.h5")
    whole = (folder / "s00.h5").read_bytes()
    (folder / "damaged.h5").write_bytes(whole[:-500])


def make_prior(folder: Path) -> None:
    """Write a small network of random weights."""
    from diffusionblend.prior import PriorConfig, UNetPrior

    torch.manual_seed(0)
    prior = UNetPrior(PriorConfig(**PRIOR))
    for name, parameter in prior.named_parameters():
        if name.endswith("gain"):
            parameter.data.fill_(1.0)
    db.save_pretrained(prior, folder)


def make_single(folder: Path, prior: Path, out: Path) -> float:
    """Make every volume by a command of its own; return the seconds of the whole."""
    out.mkdir()
    began = time.monotonic()
    for scan in sorted(folder.glob("s*.h5")):
        words = [str(scan), "-o", str(out / f"{scan.stem}.nii.gz"), "--prior", str(prior)]
        with contextlib.redirect_stdout(io.StringIO()):
            code = run_command(["reconstruct", *words, *OPTIONS])
        if code != 0:
            raise SystemExit(f"{scan}: could not be reconstructed by a single command")
    return time.monotonic() - began


class Chaos:
    """A cluster, a batch on it, and what is done to both.

    Attributes:
        workers, drivers, nodes: How many of each were killed or taken away.
    """

    def __init__(self, command: list[str], made: Path) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": NODE_CORES})
        self.lost = self.cluster.add_node(num_cpus=NODE_CORES)
        self._command = [*command, "--address", self.cluster.address]
        self._made, self._random = made, random.Random(0)
        self._told = made.with_name("told.json")
        self.workers = self.drivers = self.nodes = 0
        self.driver = self._start()

    def _start(self) -> subprocess.Popen:
        with open(self._told, "w", encoding="utf-8") as file:
            return subprocess.Popen(self._command, stdout=file)

    @property
    def done(self) -> int:
        """How many volumes are there."""
        return len(list(self._made.glob("*.nii.gz")))

    def step(self) -> None:
        """Kill a worker; at a third of the work take a node away, at two thirds the driver."""
        found = _busy_workers()
        if found:
            os.kill(self._random.choice(found), signal.SIGKILL)
            self.workers += 1
        if self.nodes == 0 and self.done > SCANS / 3:
            self.cluster.remove_node(self.lost, allow_graceful=False)
            self.cluster.add_node(num_cpus=NODE_CORES)
            self.nodes = 1
        if self.drivers == 0 and self.done > 2 * SCANS / 3:
            self.driver.kill()
            self.driver.wait()
            self.drivers, self.driver = 1, self._start()

    def run(self) -> str:
        """Go on until the batch has ended; return what it printed."""
        while True:
            try:
                self.driver.wait(timeout=KILL_EVERY)
                return self._told.read_text(encoding="utf-8")
            except subprocess.TimeoutExpired:
                self.step()


def _busy_workers() -> list[int]:
    """Return the processes of this cluster that are at a scan."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[:1] == ["ray::_call"]:
                found.append(process.pid)
    return found


def main() -> None:
    """Make everything and say how it went."""
    root = Path(sys.argv[1])
    scans, prior, single, made = (root / name for name in ("scans", "prior", "single", "made"))
    make_scans(scans)
    make_prior(prior)
    alone = make_single(scans, prior, single)
    words = [str(scans), "-o", str(made), "--prior", str(prior), "--retries", "20", "--json"]
    began = time.monotonic()
    chaos = Chaos([sys.executable, "-m", "diffusionblend", "batch", *words, *OPTIONS], made)
    told = chaos.run()
    seconds = time.monotonic() - began
    chaos.cluster.shutdown()
    equal = [
        (made / path.name).read_bytes() == path.read_bytes() for path in single.glob("*.nii.gz")
    ]
    lines = (made / "batch.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [entry["name"] for entry in map(json.loads, lines) if entry["result"] == "made"]
    print(f"single commands, one after another: {alone:.0f} s")
    print(f"the batch, with all kills: {seconds:.0f} s, exit code {chaos.driver.returncode}")
    print(f"workers killed: {chaos.workers}; nodes taken away: {chaos.nodes}, and as many added; "
          f"batches killed and started again: {chaos.drivers}")  # fmt: skip
    print(f"volumes: {sum(equal)} of {SCANS} with the bytes of the single commands")
    print(f"written down once: {len(entries) == len(set(entries)) == SCANS}")
    print(f"failed: {json.loads(told)['failed']}")


if __name__ == "__main__":
    main()
