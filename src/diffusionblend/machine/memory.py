"""How much memory there is."""

from pathlib import Path


def free_bytes() -> int | None:
    """Return the memory that can still be taken; none where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    kib = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return None if kib is None else 1024 * int(kib)
