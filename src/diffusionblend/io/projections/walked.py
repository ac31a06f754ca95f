"""HDF5 files without a checksum: another process walks through them first.

Damage can crash HDF5 (1.14), which ends the whole process, or let it loop for ever. Both then
happen to that other process, and are told in one line. It takes a third of a second, once a file.
"""

import functools
import signal
import subprocess
import sys
from pathlib import Path

from diffusionblend.errors import CorruptInput

SECONDS = 5
"""Of computing, not of waiting for a disk: a walk takes less than one."""
PROGRAM = f"""
import sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, ({SECONDS}, {SECONDS + 1}))
    resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
except (ImportError, OSError, ValueError):
    pass
import h5py

def look(name, item):
    try:
        dict(item.attrs)
        if isinstance(item, h5py.Dataset) and not item.external and not item.is_virtual:
            if item.chunks:
                item.id.get_num_chunks()
            if item.id.get_storage_size():
                item[()] if item.nbytes < 2**26 else item[(0,) * (item.ndim - 1)]
    except Exception:
        pass

try:
    with h5py.File(sys.argv[1]) as file:
        look("/", file)
        file.visititems(look)
except Exception:
    pass
"""
"""What is merely wrong, the reader itself finds and says in its own words."""


def walk(path: Path) -> None:
    """Refuse a file that HDF5 does not survive; one that was walked through is not again."""
    facts = path.stat()
    _walk(path.absolute(), facts.st_size, facts.st_mtime_ns)


@functools.lru_cache(maxsize=1000)
def _walk(path: Path, size: int, changed: int) -> None:
    if not sys.executable:  # a program that Python is a part of
        return
    # -P: what lies in the working folder is not imported.
    words = [sys.executable, "-P", "-c", PROGRAM, str(path)]
    ended = subprocess.run(words, check=False, capture_output=True)  # noqa: S603 - Python itself
    if ended.returncode < 0:
        how = signal.Signals(-ended.returncode)
        what = "does not come to an end with it" if how == signal.SIGXCPU else "crashes on it"
        raise CorruptInput(f"{path}: is damaged: HDF5 {what} ({how.name}); copy or make it again")
