"""Ways to run a command, and what it leaves."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from dataclasses import dataclass

from diffusionblend.cli.main import main


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def command(*arguments):
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    before = signal.getsignal(signal.SIGTERM)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([str(a) for a in arguments])
    except SystemExit as end:
        code = end.code
    finally:
        signal.signal(signal.SIGTERM, before)
    return Ended(code, out.getvalue(), err.getvalue())


def killed_behind(step, rank=None):
    """Return what lets a process be killed, or the one of a rank, when a step's state is saved."""
    also = "" if rank is None else f' and os.environ["RANK"] == "{rank}"'
    return f"""
import os, signal
from diffusionblend.runs.checkpoint import Checkpoint
save = Checkpoint.__call__
def save_and_end(run, step):
    save(run, step)
    if step.index == {step}{also}:
        os.kill(os.getpid(), signal.SIGKILL)
Checkpoint.__call__ = save_and_end
"""


def user_command(*arguments, before_main="", threads=1):
    """Run a command as a user does, in a process of its own with so many threads."""
    program = (
        f"import sys; {before_main}\nfrom diffusionblend.cli.main import main; sys.exit(main())"
    )
    start = ["-c", program] if before_main else ["-m", "diffusionblend"]
    ended = subprocess.run(
        [sys.executable, *start, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def contents(folder):
    """Return every file under a folder, hidden ones too, and what is in it."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
