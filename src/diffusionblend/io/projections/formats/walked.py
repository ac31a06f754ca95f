"""HDF5 and MAT-files, which have no checksum: another process walks through them first.

Damage can crash HDF5 (1.14) and SciPy (1.17), which ends the whole process, or make HDF5 loop for
ever. Both then happen to that other process, and are reported in one line. It takes a third of a
second, once a file.
"""

import functools
import signal
import subprocess
import sys
from pathlib import Path

from diffusionblend.errors import CorruptInput

SECONDS = 5
"""Of computing, not of waiting for a disk: a walk takes less than one."""
BYTES_A_SECOND = 10**7
"""What a MAT-file, which is read whole, is unpacked at, at least."""
MATLAB = b"MATLAB 5.0"
PROGRAM = """
import sys
path, seconds, matlab = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
except (ImportError, OSError, ValueError):
    pass

def look(name, item):
    import h5py
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
    if matlab:
        from scipy.io import loadmat
        loadmat(path, simplify_cells=True)
    else:
        import h5py
        with h5py.File(path) as file:
            look("/", file)
            file.visititems(look)
except Exception:
    pass
"""
"""What is merely wrong, the reader itself finds and says in its own words."""


def walk(path: Path) -> None:
    """Refuse a file that its reader does not survive; one that was walked through is not again."""
    facts = path.stat()
    _walk(path.absolute(), facts.st_size, facts.st_mtime_ns)


@functools.lru_cache(maxsize=1000)
def _walk(path: Path, size: int, changed: int) -> None:
    if not sys.executable:  # a program that Python is a part of
        return
    with open(path, "rb") as file:
        matlab = file.read(len(MATLAB)) == MATLAB
    seconds = SECONDS + matlab * size // BYTES_A_SECOND
    # -P: what lies in the working folder is not imported.
    words = [sys.executable, "-P", "-c", PROGRAM, str(path), str(seconds), str(int(matlab))]
    ended = subprocess.run(words, check=False, capture_output=True)  # noqa: S603 - Python itself
    if ended.returncode < 0:
        how = signal.Signals(-ended.returncode)
        what = "does not finish reading it" if how == signal.SIGXCPU else "crashes on it"
        reader = "SciPy" if matlab else "HDF5"
        raise CorruptInput(
            f"{path}: is damaged: {reader} {what} ({how.name}); copy or make it again"
        )
