"""Processes that make one volume: threads in their place, and the command by several of them."""

import os
import queue
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from diffusionblend.machine.processes import Processes
from support.commands import Ended

PATIENCE = 60


@dataclass(frozen=True)
class Threads(Processes):
    """A process that is a thread, and its letters to the others."""

    letters: dict = field(default_factory=dict)

    def exchange(self, outgoing, incoming):
        for other, tensor in enumerate(outgoing):
            assert tensor.is_contiguous()
            self.letters[self.rank, other].put(tensor.clone())
        for other, tensor in enumerate(incoming):
            tensor.copy_(self.letters[other, self.rank].get(timeout=PATIENCE))

    def summed(self, values):
        return sum(self.everyones(values))

    def everyones(self, value):
        for other in range(self.count):
            self.letters[self.rank, other].put(value)
        return [self.letters[other, self.rank].get(timeout=PATIENCE) for other in range(self.count)]


def by_threads(count, work):
    """Return what a function of processes returns in each of so many."""
    letters = {(a, b): queue.SimpleQueue() for a in range(count) for b in range(count)}
    with ThreadPoolExecutor(count) as pool:
        done = [pool.submit(work, Threads(rank, count, count, letters)) for rank in range(count)]
        return [each.result() for each in done]


def started(count, *arguments, before_main=""):
    """Start a command in so many processes, as torchrun does; return them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = (
        f"import sys; {before_main}\nfrom diffusionblend.__main__ import start; sys.exit(start())"
    )
    known = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | known | {"RANK": str(rank), "OMP_NUM_THREADS": "1"},
        )
        for rank in range(count)
    ]


def ended(processes):
    """Return how processes have ended."""
    found = []
    for process in processes:
        out, err = process.communicate(timeout=PATIENCE)
        found.append(Ended(process.returncode, out, err))
    return found
