"""A run that is stopped: what it leaves, and that it goes on to the bytes of one that was not."""

import contextlib
import io
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
import zipfile

import h5py
import msgspec
import numpy as np
import pytest
import torch

from diffusionblend.errors import CorruptInput, UsageError
from diffusionblend.io.files import sha256
from diffusionblend.io.scans import read_scan
from diffusionblend.io.volumes import read_volume
from diffusionblend.machine.device import processor
from diffusionblend.runs.checkpoint import Checkpoint, read_steps
from diffusionblend.runs.provenance import Machine
from diffusionblend.runs.state import Facts, read_state, write_state
from support.commands import command, contents, killed_behind, user_command

STEPS = 6


@pytest.fixture
def user(data, place, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.chdir(place)
    (place / "chest.h5").write_bytes(data.scan.read_bytes())
    os.symlink(data.prior, place / "prior")
    return place


def words(output, *more):
    options = ("--prior", "prior", "--steps", STEPS, "--save-state", 0, "--no-classical")
    return ("reconstruct", "chest.h5", *options, *more, "-o", output)


def run(*arguments):
    ended = command(*arguments)
    assert ended.code == 0, ended.err
    return ended


def stopped(monkeypatch, step, *arguments):
    """Run a command that is interrupted behind a step."""
    save = Checkpoint.__call__

    def save_and_stop(self, told):
        save(self, told)
        if told.index == step:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "__call__", save_and_stop)
        ended = command(*arguments)
    assert ended.code == 130
    return ended


@pytest.mark.parametrize("more", [(), ("--samples", 2)])
def test_killed_at_a_random_step_it_goes_on_to_the_same_bytes(user, more, caplog):
    run(*words("whole.nii.gz", *more, "--threads", 1))
    step = random.randrange(1, STEPS * (2 if more else 1))
    stop = killed_behind(step)
    ended = user_command(*words("o.nii.gz", *more), before_main=stop)
    assert ended.code == -signal.SIGKILL
    assert not (user / "o.nii.gz").exists()
    run(*words("o.nii.gz", *more), "--resume")
    # Behind the last step of a sample there is no state.
    assert f"continues after step {step - (step % STEPS == 0)}" in caplog.text
    for name in ["{}.nii.gz", "{}.std.nii.gz"][: 2 if more else 1]:
        assert sha256(user / name.format("o")) == sha256(user / name.format("whole")), step
    assert not (user / "o.nii.gz.state").exists()


@pytest.fixture
def of_threads():
    """Let torch have another number of threads, as OMP_NUM_THREADS or another machine would."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


TOTAL_VARIATION = ("--method", "sbtv", "--set", "iterations=10")
"""It has sums over the whole volume, whose last digits differ with the threads on any machine."""


def command_of(output, method):
    """Return the words of a reconstruction that saves each state."""
    if method == "sbtv":
        return ("reconstruct", "chest.h5", *TOTAL_VARIATION, "--save-state", 0, "-o", output)
    return words(output, "--method", method)


@pytest.mark.parametrize(
    ("method", "begun", "after"), [("diffusionblend-fast", 1, 2), ("sbtv", 1, 3), ("sbtv", 2, 1)]
)
def test_a_run_keeps_the_threads_it_was_begun_with(
    user, of_threads, monkeypatch, method, begun, after
):
    arguments = command_of("o.nii.gz", method)
    of_threads(begun)
    run(*arguments)
    whole = sha256(user / "o.nii.gz")
    stopped(monkeypatch, 3, *arguments)
    of_threads(after)
    run(*arguments, "--resume")
    assert torch.get_num_threads() == after
    record = json.loads((user / "o.nii.gz.json").read_text(encoding="utf-8"))
    assert record["machine"]["threads"] == begun
    assert record["sha256"] == whole
    run(*shlex.split(record["again"])[1:])
    assert sha256(user / "o.nii.gz") == whole


def test_killed_with_one_thread_and_gone_on_with_two_in_another_process(user):
    for threads in (1, 2):
        ended = user_command(*command_of(f"{threads}.nii.gz", "sbtv"), threads=threads)
        assert ended.code == 0, ended.err
    one, two = (sha256(user / f"{threads}.nii.gz") for threads in (1, 2))
    assert one != two  # or this would show nothing
    stop = killed_behind(3)
    arguments = command_of("o.nii.gz", "sbtv")
    assert user_command(*arguments, before_main=stop).code == -signal.SIGKILL
    ended = user_command(*arguments, "--resume", threads=2)
    assert ended.code == 0, ended.err
    assert sha256(user / "o.nii.gz") == one


def change(path, **facts):
    """Let a state say other things of itself, under a checksum that is right."""
    known, state = read_state(path)
    write_state(path, msgspec.structs.replace(known, **facts), state)


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ({}, "does not say how many threads it began with"),
        ({"processor": "Abacus", "threads": 1}, "was begun on another machine (Abacus, torch; "),
        (
            {"processor": processor(), "threads": 1, "engine": "openvino"},
            ", openvino; here ",
        ),
    ],
)
def test_where_the_bytes_may_differ_a_resumed_run_says_so(user, monkeypatch, caplog, machine, said):
    stopped(monkeypatch, 3, *words("o.nii.gz", "--threads", 1))
    change(user / "o.nii.gz.state", machine=machine)
    run(*words("o.nii.gz"), "--resume")
    assert said in caplog.text
    assert (user / "o.nii.gz").exists()


@pytest.mark.parametrize("threads", ["two", 0, 2.5, -1, 10**6])
def test_a_state_whose_threads_are_none_is_damaged(user, monkeypatch, threads):
    stopped(monkeypatch, 3, *words("o.nii.gz"))
    change(user / "o.nii.gz.state", machine={"threads": threads})
    assert command(*words("o.nii.gz"), "--resume").code == CorruptInput.code


def test_threads_that_a_run_was_not_begun_with_are_refused(user, monkeypatch):
    stopped(monkeypatch, 3, *words("o.nii.gz", "--threads", 1))
    before = contents(user)
    ended = command(*words("o.nii.gz", "--threads", 2), "--resume")
    assert ended.code == 2
    assert "was begun with 1, and" in ended.err
    assert contents(user) == before
    run(*words("o.nii.gz", "--threads", 1), "--resume")


def test_an_interrupted_run_says_how_it_goes_on_and_leaves_its_state_alone(
    user, monkeypatch, caplog
):
    before = set(contents(user))
    ended = stopped(monkeypatch, 3, *words("o.nii.gz"))
    assert {str(p) for p in set(contents(user)) - before} == {"o.nii.gz.state"}
    assert "o.nii.gz.state is kept: the same command with --resume continues" in caplog.text
    assert ended.err.splitlines()[-1] == (
        "diffusionblend: interrupted; no half-written file is left behind"
    )


def test_the_record_of_a_resumed_run_is_that_of_one_that_was_not_stopped(user, monkeypatch):
    run(*words("o.nii.gz", "--save-steps", 2))
    whole = json.loads((user / "o.nii.gz.json").read_text(encoding="utf-8"))
    stopped(monkeypatch, 3, *words("o.nii.gz", "--save-steps", 2))
    run(*words("o.nii.gz", "--save-steps", 2), "--resume")
    again = json.loads((user / "o.nii.gz.json").read_text(encoding="utf-8"))
    for record in (whole, again):
        del record["finished"], record["seconds"], record["quality"]["seconds"]
    assert again == whole
    assert [s["step"] for s in whole["steps"]] == [2, 4, 6]


def test_the_time_before_the_stop_counts(user, monkeypatch):
    stopped(monkeypatch, 3, *words("o.nii.gz"))
    change(user / "o.nii.gz.state", seconds=1000.0)
    ended = run(*words("o.nii.gz", "--json"), "--resume")
    recorded = json.loads((user / "o.nii.gz.json").read_text(encoding="utf-8"))["seconds"]
    assert json.loads(ended.out)["seconds"] == recorded >= 1000


def test_without_resume_it_begins_anew(user, monkeypatch, caplog):
    stopped(monkeypatch, 3, *words("o.nii.gz"))
    caplog.clear()
    run(*words("o.nii.gz"))
    assert "continues" not in caplog.text
    assert not (user / "o.nii.gz.state").exists()


def test_nothing_to_resume_is_said(user, caplog):
    run(*words("o.nii.gz"), "--resume")
    assert "o.nii.gz.state: not there; the run starts from the beginning" in caplog.text


def test_the_state_of_another_run_is_refused(user, monkeypatch):
    stopped(monkeypatch, 3, *words("o.nii.gz"))
    before = contents(user)
    for more, said in [(("--seed", 1), "seed 0, here 1"), (("--scale", 0.5), "scale None")]:
        ended = command(*words("o.nii.gz", *more), "--resume")
        assert ended.code == 2
        assert said in ended.err
        assert "o.nii.gz.state: belongs to another run" in ended.err
    ended = command(*words("o.nii.gz", "--set", "leak=0.5"), "--resume")
    assert ended.code == 2
    assert contents(user) == before


def test_a_damaged_state_is_refused(user, monkeypatch):
    stopped(monkeypatch, 3, *words("o.nii.gz"))
    path = user / "o.nii.gz.state"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0x10
    for damaged in (whole[: len(whole) // 2], b"", b"no state", bytes(flipped)):
        path.write_bytes(damaged)
        ended = command(*words("o.nii.gz"), "--resume")
        assert ended.code == CorruptInput.code, ended.err
        assert "o.nii.gz.state" in ended.err.splitlines()[-1]
        assert not (user / "o.nii.gz").exists()


def test_no_flipped_bit_of_a_state_changes_what_is_read(tmp_path):
    path, generator = tmp_path / "a.state", random.Random(4)
    kept = {"x": torch.arange(24.0).reshape(2, 3, 4), "step": torch.tensor(3)}
    write_state(path, Facts({"seed": 0}, 3, 1.5), kept)
    whole = path.read_bytes()
    expected = read_state(path)
    for _ in range(1500):
        flipped, at = bytearray(whole), generator.randrange(len(whole))
        flipped[at] ^= 1 << generator.randrange(8)
        path.write_bytes(flipped)
        with contextlib.suppress(CorruptInput):  # a time of change that nobody reads may differ
            facts, state = read_state(path)
            assert facts == expected[0]
            assert all(torch.equal(state[name], tensor) for name, tensor in kept.items()), at


def test_a_state_that_claims_more_than_it_holds_takes_no_memory(tmp_path):
    path = tmp_path / "a.state"
    header = io.BytesIO()
    claim = {"descr": "<f4", "fortran_order": False, "shape": (2**40, 2**10)}
    np.lib.format.write_array_header_1_0(header, claim)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("facts.npy", header.getvalue())
    with pytest.raises(CorruptInput, match=r"a\.state: is not the state"):
        read_state(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("facts.npy", bytes(10**7))
    with pytest.raises(CorruptInput, match="it is compressed"):
        read_state(path)


def test_a_state_of_the_first_version_is_still_read(tmp_path):
    with h5py.File(tmp_path / "a.state", "w") as file:
        file.attrs["run"], file.attrs["machine"] = '{"seed": 1}', '{"threads": 2}'
        file.attrs["step"], file.attrs["seconds"] = 4, 2.5
        file.create_dataset("x", data=np.ones((2, 3), np.float32), fletcher32=True)
        file.create_dataset("step", data=4)
    facts, state = read_state(tmp_path / "a.state")
    assert facts == Facts({"seed": 1}, 4, 2.5, Machine(threads=2))
    assert torch.equal(state["x"], torch.ones(2, 3))
    assert int(state["step"]) == 4


def test_states_are_written_now_and_then(user, monkeypatch):
    run(*words("o.nii.gz"))
    written = []
    monkeypatch.setattr(
        "diffusionblend.runs.checkpoint.write_state", lambda *state: written.append(state)
    )
    run("reconstruct", "chest.h5", "--prior", "prior", "--steps", 2, "-o", "o.nii.gz")
    assert written == []


def test_volumes_on_the_way(user):
    run(*words("o.nii.gz", "--save-steps", 4))
    kept = read_steps(user / "o.steps")
    assert [(s.step, s.volume) for s in kept] == [(4, "step-0004.nii.gz"), (6, "step-0006.nii.gz")]
    last, volume = read_volume(user / "o.steps" / kept[-1].volume), read_volume(user / "o.nii.gz")
    np.testing.assert_array_equal(last.hu, volume.hu)
    assert last.grid == volume.grid
    record = json.loads((user / "o.nii.gz.json").read_text(encoding="utf-8"))
    assert record["steps"][-1]["residual"] == pytest.approx(
        record["quality"]["residual"]["relative"], abs=1e-5
    )
    run(*words("o.nii.gz", "--save-steps", 3))
    assert {p.name for p in (user / "o.steps").iterdir()} == {
        "step-0003.nii.gz", "step-0006.nii.gz", "steps.json",
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", ["{", '[{"step": 1, "volume": "../o.nii.gz", "residual": 0.1}]', "[1]"]
)
def test_a_list_of_steps_that_is_not_ours_is_refused(tmp_path, text):
    (tmp_path / "steps.json").write_text(text)
    with pytest.raises(CorruptInput, match=r"steps\.json"):
        read_steps(tmp_path)


# Ctrl-C


def interrupted(*arguments, before_main, said):
    """Start a command, interrupt it when it says something, return its code and how long it took.

    The process is one of a terminal: interrupts are not ignored.
    """
    program = (
        f"{before_main}\nimport sys; from diffusionblend.cli.main import main; sys.exit(main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    for line in process.stderr:
        if said in line:
            break
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, err = process.communicate(timeout=60)
    return process.returncode, time.monotonic() - began, err


SAY = """
import sys
from diffusionblend.runs.checkpoint import Checkpoint
def say(run, step):
    print("step", step.index, file=sys.stderr, flush=True)
    {then}
Checkpoint.__call__ = say
"""


@pytest.mark.parametrize(
    "then", ["", "import hashlib; hashlib.pbkdf2_hmac('sha256', b'a', b'b', 10**9)"]
)
def test_ctrl_c_ends_within_five_seconds_and_leaves_nothing(user, then):
    """Even while a call does not return, in which Python hears of no signal."""
    before = contents(user)
    arguments = words("o.nii.gz")
    arguments = [1000 if word == STEPS else word for word in arguments]
    code, seconds, err = interrupted(*arguments, before_main=SAY.format(then=then), said="step 1")
    assert code in ((-signal.SIGINT, 130) if then else (130,))
    assert seconds < 5
    assert err.splitlines()[-1] == (
        "diffusionblend: interrupted; no half-written file is left behind"
    )
    assert "Traceback" not in err
    assert contents(user) == before


def test_what_is_being_written_goes_too_when_a_call_does_not_return(user):
    hang = """
def hang(*_):
    import hashlib, sys
    print("writing", file=sys.stderr, flush=True)
    hashlib.pbkdf2_hmac('sha256', b'a', b'b', 10**9)
import diffusionblend.io.files
diffusionblend.io.files._flush = hang
"""
    before = contents(user)
    arguments = ["reconstruct", "chest.h5", "--method", "fbp", "-o", "o.nii.gz"]
    code, _, _ = interrupted(*arguments, before_main=hang, said="writing")
    assert code in (-signal.SIGINT, 130)  # the latter before the call begins
    assert contents(user) == before


def test_a_callback_is_told_volume_residual_and_state(user):
    import diffusionblend as db

    scan, told = read_scan(user / "chest.h5"), []
    volume = db.reconstruct(scan, prior="./prior", steps=3, callback=told.append)
    assert [step.index for step in told] == [1, 2, 3]
    np.testing.assert_array_equal(told[-1].volume.hu, volume.hu)
    assert 0 < told[-1].residual < 1
    again = db.reconstruct(scan, prior="./prior", steps=3, start=told[0].state)
    np.testing.assert_array_equal(again.hu, volume.hu)


def test_a_state_of_more_samples_than_are_asked_for_is_refused(user):
    import diffusionblend as db

    scan, told = read_scan(user / "chest.h5"), []
    wish = {"prior": "./prior", "steps": 2, "classical": False}
    db.reconstruct(scan, samples=2, callback=told.append, **wish)
    of_the_second = told[2].state
    with pytest.raises(
        UsageError, match=r"^`samples=1`: the saved state is from a run with more, 1 of "
    ):
        db.reconstruct(scan, samples=1, start=of_the_second, **wish)
