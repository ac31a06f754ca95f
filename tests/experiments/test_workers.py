"""Processes of Ray that die: tried again, and one task that fails does not end the others."""

import os
import signal
import sys
from pathlib import Path

import pytest

from diffusionblend.batch.engine import Needs, Pool, Task, executor
from diffusionblend.errors import OutOfMemory, PriorError, UsageError

NAMES = ("always", "prior", "twice", "never", "bug")


def worker(tries):
    """Return the work: it counts how often it is begun, and may die or fail."""

    def work(name):
        path = Path(tries, name)
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        path.write_text(before + "I", encoding="utf-8")
        if name == "always" or (name == "twice" and len(before) < 2):
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "prior":
            raise PriorError("no such prior")
        if name == "bug":
            raise ZeroDivisionError(name)
        return name, os.getpid()

    return work


def test_a_worker_that_dies_is_replaced_and_one_that_always_dies_fails_one_task(
    tmp_path,
):  # 15 s: Ray starts slowly
    needs = Needs(memory=10**15)  # no machine has so much: it takes what there is
    with executor(Pool(2)) as run:
        ended = {e.item: e for e in run(worker(tmp_path), (Task(name, needs) for name in NAMES))}
        again = list(run(worker(tmp_path), [Task("never")]))
    assert {n for n, e in ended.items() if e.failure is None} == {"never", "twice"}
    assert ended["never"].made[0] == "never"
    assert ended["never"].made[1] != os.getpid()
    assert isinstance(ended["always"].failure, OutOfMemory)
    assert "died 4 times (WorkerCrashedError)" in str(ended["always"].failure)
    assert type(ended["prior"].failure) is PriorError
    assert type(ended["bug"].failure) is ZeroDivisionError
    assert again[0].made[0] == "never"
    counts = {name: len((tmp_path / name).read_text(encoding="utf-8")) for name in NAMES}
    assert counts == {"always": 4, "prior": 1, "twice": 3, "never": 2, "bug": 1}


def test_one_worker_is_this_process(tmp_path):
    with executor(Pool()) as run:
        ended = list(run(worker(tmp_path), map(Task, ("never", "prior", "bug"))))
    assert ended[0].made == ("never", os.getpid())
    assert [type(e.failure) for e in ended[1:]] == [PriorError, ZeroDivisionError]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere", "a:b:99999999"])
def test_an_address_without_a_cluster_is_refused_in_a_line(address):
    with (
        pytest.raises(UsageError, match="no Ray cluster answers") as refused,
        executor(Pool(2, address)),
    ):
        pass
    assert "\n" not in str(refused.value)


def test_without_ray_several_workers_are_refused_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match="ray: not installed"), executor(Pool(2)):
        pass
