"""A signal ends a command wherever it is heard."""

import signal
import subprocess
import sys
import time

import pytest

DELETING = """
import os, time
from diffusionblend.cli.interrupt import prompt_signals

class Deleted:
    def __del__(self):
        os.kill(os.getpid(), {number})
        time.sleep(0.2)  # here it is raised, where Python ignores what is raised

with prompt_signals():
    Deleted()
    time.sleep(30)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_python_ignores_is_raised_again(number):
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", DELETING.format(number=int(number))],
        check=False,
        capture_output=True,
        text=True,
        timeout=25,
    )
    assert time.monotonic() - began < 20
    assert ended.returncode in (128 + number, -number)
    assert "ignored" not in ended.stderr
