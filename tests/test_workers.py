"""Processes of Ray that die: tried again, and one run that fails does not end the others."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from diffusionblend.errors import OutOfMemory, PriorError
from diffusionblend.experiments import execute


def test_a_worker_that_dies_is_replaced_and_one_that_always_dies_fails_one_run(
    tmp_path, monkeypatch
):  # 15 s: Ray starts slowly
    tries = str(tmp_path)

    def work(run, folder, number):
        path = Path(tries, run.label)
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        path.write_text(before + "I", encoding="utf-8")
        if run.label == "always" or (run.label == "twice" and len(before) < 2):
            os.kill(os.getpid(), signal.SIGKILL)
        if run.label == "prior":
            raise PriorError("no such prior")
        return run.label

    monkeypatch.setattr(execute, "_with_threads", work)
    runs = [SimpleNamespace(label=name) for name in ("always", "prior", "twice", "never")]
    made = []

    def take():
        for _, result in execute._by_ray(runs, tmp_path, 2):
            made.append(result)

    with pytest.raises((OutOfMemory, PriorError)):
        take()
    assert sorted(made) == ["never", "twice"]
    counts = {run.label: len(Path(tries, run.label).read_text(encoding="utf-8")) for run in runs}
    assert counts == {"always": 4, "prior": 1, "twice": 3, "never": 1}
