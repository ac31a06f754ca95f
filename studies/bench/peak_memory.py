"""Print the peak memory of a reconstruction in MiB: `peak_memory.py SCAN METHOD [OPTION=VALUE]`.

Linux's own count: `getrusage` would say as much as the process that started this one ever held.
"""

import re
import sys
from pathlib import Path

from diffusionblend.io.scans import read_scan
from diffusionblend.io.toml import split_pairs
from diffusionblend.methods.options import make_method
from diffusionblend.reconstruction.draw import reconstruct_volume


def main(scan: str, name: str, *options: str) -> None:
    method = make_method(name, **split_pairs(options))
    reconstruct_volume(read_scan(Path(scan)), method, device="cpu")
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    print(int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 1024)


if __name__ == "__main__":
    main(*sys.argv[1:])
