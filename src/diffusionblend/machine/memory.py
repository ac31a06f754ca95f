"""How much memory is available, and how to recognise that a library ran out of it."""

import contextlib
import math
import re
from collections.abc import Iterator
from pathlib import Path

from diffusionblend.errors import OutOfMemory, UsageError

_CGROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self")
_UNLIMITED = 2**60
"""From here on a limit means no limit: cgroups of version 1 then report a little less than 2^63."""
_RAN_OUT = re.compile(
    "allocate memory|not enough memory|out of memory|bad_alloc|map segment"
    "|could not create a (primitive$|memory)",
    re.IGNORECASE,
)
"""Messages of torch, C++, the dynamic loader and, in the last line, oneDNN."""
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]*)?) ?(?:([KMGT])i?)?B?", re.IGNORECASE)
_FREE_ON_DEVICE = re.compile(r"of which ([\d.]+ \w+) is free")
"""Where torch's message states the free memory of a GPU."""
_NOT_LOADED = re.compile("load shared object|cannot open shared object", re.IGNORECASE)
_TO_LOAD = 2**26
"""A library that cannot be loaded while fewer bytes than this are free is out of memory."""


def free_bytes() -> int | None:
    """Return how many bytes can still be allocated; None where the system does not say.

    The least of what is free on the machine, in the container or job (cgroup), and under `ulimit`.
    """
    known = [free for free in (_of_machine(), _of_cgroups(), _of_ulimit()) if free is not None]
    return min(known, default=None)


def ran_out(error: BaseException) -> bool:
    """Return whether an exception means out of memory; torch has only a message for that."""
    if isinstance(error, MemoryError) or _is_panic(error):
        return True
    if not isinstance(error, RuntimeError | OSError | ImportError):
        return False
    if _NOT_LOADED.search(str(error)):
        free = free_bytes()
        return free is not None and free < _TO_LOAD
    return bool(_RAN_OUT.search(str(error)))


def _is_panic(error: BaseException) -> bool:
    """Return whether a library in Rust failed to allocate a Python object."""
    return type(error).__name__ == "PanicException" and "pointer is null" in str(error)


def as_failure(error: Exception) -> Exception:
    """Return an error as it is reported: as OutOfMemory if it means that."""
    if isinstance(error, OutOfMemory) or not ran_out(error):
        return error
    cure = "take fewer slices or pixels, or fewer at a time"
    return out_of_memory("the work", None, cure, left=_left_on(error))


@contextlib.contextmanager
def memory_of(what: str, needed: int | None, cure: str) -> Iterator[None]:
    """Say in one line what needed memory, how much, what is free, and what to do."""
    try:
        yield
    except OutOfMemory:
        raise
    except BaseException as error:  # a panic of Rust is no Exception
        if not ran_out(error):
            raise
        raise out_of_memory(what, needed, cure, left=_left_on(error)) from error


def out_of_memory(
    what: str, needed: int | None, cure: str, allowed: int | None = None, left: str = ""
) -> OutOfMemory:
    """Say what needs memory, how much, what is left or was allowed, and what to do."""
    needs = "" if needed is None else f" needs about {in_units(needed)},"
    if allowed is not None:
        left = f"`max_memory` allows {in_units(allowed)}"
    return OutOfMemory(f"{what}{needs or ':'} {left or _left_here()}; {cure}")


def _left_here() -> str:
    free = free_bytes()
    return "none is free" if free is None else f"{in_units(free)} are free"


def _left_on(error: BaseException) -> str:
    """Return what an error says that a device has left; nothing if it is of no device."""
    if "CUDA" not in str(error):
        return ""
    free = _FREE_ON_DEVICE.search(str(error))
    return f"{free[1]} are free on the device" if free else "the device has no more"


def bytes_of(amount: int | str) -> int:
    """Return a number of bytes that may be written as `8G`, `500M` or `8GiB`."""
    found = _AMOUNT.fullmatch(str(amount).strip())
    count = float(found[1]) * 2 ** (10 * "_KMGT".index((found[2] or "_").upper())) if found else 0.0
    if not 1 <= count < 2**60:
        raise UsageError(f"`max_memory={amount}`: expected bytes, for instance 8G or 500M")
    return int(count)


def in_units(count: float) -> str:
    """Return a number of bytes for people."""
    mib = count / 2**20
    if mib < 1:
        return f"{math.ceil(1024 * mib)} KiB"
    return f"{mib:.0f} MiB" if mib < 1024 else f"{mib / 1024:.1f} GiB"


def _of_machine() -> int | None:
    told = fields_of(Path("/proc/meminfo"))
    if "MemAvailable" not in told:
        return None
    return told["MemAvailable"] + told.get("SwapFree", 0)


def _of_cgroups(root: Path = _CGROUPS, own: Path = _OWN / "cgroup") -> int | None:
    """Return what the least of the groups leaves that this process is in, of either version."""
    free = []
    for line in _lines(own):
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            top = root / "memory"
            names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        elif not controllers:
            top, names = root, ("memory.max", "memory.current", "inactive_file")
        else:
            continue
        place = top / path.lstrip("/")
        free += [
            _left(group, *names)
            for group in (place, *place.parents)
            if top in (group, *group.parents)
        ]
    return min((f for f in free if f is not None), default=None)


def _left(group: Path, limit: str, usage: str, reclaimable: str) -> int | None:
    """Return what a group may still take: files that it holds in memory make room."""
    try:
        most, taken = (int((group / name).read_text(encoding="ascii")) for name in (limit, usage))
    except (OSError, ValueError):  # there is none, or it says `max`
        return None
    cached = sum(
        int(line.split()[1])
        for line in _lines(group / "memory.stat")
        if line.split()[0] == reclaimable
    )
    return None if most >= _UNLIMITED else max(0, most - taken + cached)


def _of_ulimit() -> int | None:
    try:
        import resource
    except ImportError:  # where there is none
        return None
    taken = fields_of(_OWN / "status")
    free = []
    for limit, name in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY:
            free.append(max(0, soft - taken.get(name, 0)))
    return min(free, default=None)


def fields_of(path: Path) -> dict[str, int]:
    """Return the fields of a file of /proc that are given in kB, in bytes."""
    words = (line.split() for line in _lines(path))
    return {w[0].rstrip(":"): 1024 * int(w[1]) for w in words if len(w) == 3 and w[2] == "kB"}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
