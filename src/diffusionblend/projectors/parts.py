"""Work shared by threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import torch

_PARTS = 4  # for each thread, so that none waits long for the last


def by_threads(work: Callable[[int, int], object], count: int) -> None:
    """Do `work(start, stop)` for parts of a whole of `count`, in as many threads as torch has."""
    threads = torch.get_num_threads()
    bounds = np.linspace(0, count, threads * _PARTS + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, *part) for part in pairwise(bounds.tolist())]:
            done.result()
