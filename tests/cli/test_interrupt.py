"""A signal ends a command wherever it is heard."""

import signal
import subprocess
import sys
import time

import pytest

DELETING = """
import os, time
from diffusionblend.cli import interrupt

class Deleted:
    def __del__(self):
        {deleting}

{before}
with interrupt.prompt_signals():
    Deleted()
    time.sleep(30)
"""
SENT = "os.kill(os.getpid(), {number}); time.sleep(0.2)"
"""It is raised in between, where Python ignores what is raised."""
TWICE = """
number_of = interrupt._number_of

def sent_again(error):
    if error is not None:
        os.kill(os.getpid(), {number})
        time.sleep(0.1)
    return number_of(error)

interrupt._number_of = sent_again
"""
"""A second signal while the first is being looked at: so slow is a machine under load."""


def ended(**parts):
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", DELETING.format(**{"before": ""} | parts)],
        check=False,
        capture_output=True,
        text=True,
        timeout=25,
    )
    assert time.monotonic() - began < 20
    assert "ignored" not in ended.stderr
    return ended.returncode


@pytest.mark.parametrize("before", ["", TWICE], ids=["once", "twice"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_python_ignores_is_raised_again(number, before):
    number = int(number)
    code = ended(deleting=SENT.format(number=number), before=before.format(number=number))
    assert code in (128 + number, -number)


def test_an_interrupt_that_is_raised_in_a_deletion_is_raised_again():
    assert ended(deleting="raise KeyboardInterrupt") == -signal.SIGINT
