"""Memory that is not enough: one line says what is needed, what is free and what to change."""

import resource
import subprocess
import sys

import pytest
import torch

from diffusionblend.errors import OutOfMemory
from diffusionblend.io.scans import read_scan
from diffusionblend.machine import memory
from diffusionblend.machine.memory import free_bytes, memory_of, ran_out
from diffusionblend.prior import UNetPrior
from diffusionblend.projectors.matrix import MatrixProjector
from diffusionblend.reconstruction.reconstruct import reconstruct
from diffusionblend.sampling.blend import blend
from diffusionblend.sampling.partition import single
from support.commands import command
from support.pretended import pretended

MIB = 2**20
CPU_SAYS = (
    "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried"
)


def test_what_torch_says_is_understood():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**58)
    assert ran_out(raised.value)
    assert ran_out(MemoryError())
    assert ran_out(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"))
    assert ran_out(RuntimeError("std::bad_alloc"))
    assert ran_out(ImportError("libtorch.so: failed to map segment from shared object"))
    assert ran_out(RuntimeError("could not create a primitive"))
    assert not ran_out(RuntimeError("could not create a primitive descriptor for a deconvolution"))
    assert not ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not ran_out(ValueError("cannot allocate memory"))


def test_a_panic_of_rust_for_lack_of_memory_is_told_as_such():
    """It was a traceback: safetensors, out of memory, raises what is no Exception."""
    panic = type("PanicException", (BaseException,), {})
    with pytest.raises(OutOfMemory, match="state needs about 1 MiB"), memory_of("state", 2**20, ""):
        raise panic("PyObject pointer is null")
    with pytest.raises(panic), memory_of("state", 2**20, ""):
        raise panic("index out of bounds")


def test_a_library_that_cannot_be_loaded_lacks_memory_only_where_there_is_none(monkeypatch):
    """What llvmlite says of both."""
    error = OSError("Could not find/load shared object file 'libllvmlite.so' from resource ...")
    monkeypatch.setattr(memory, "free_bytes", lambda: 3 * 2**20)
    assert ran_out(error)
    for free in (2**30, None):
        monkeypatch.setattr(memory, "free_bytes", lambda free=free: free)
        assert not ran_out(error)


def group(folder, limit, usage, cached, *, version):
    """Make a cgroup as the system shows it."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        2: ("memory.max", "memory.current", "inactive_file"),
    }[version]
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"anon 7\n{names[2]} {cached}\nfile 5\n")


NO_LIMIT = {1: 2**63 - 4096, 2: "max"}


@pytest.mark.parametrize("version", [1, 2])
def test_the_least_of_the_groups_of_a_process_counts(tmp_path, version):
    own = tmp_path / "own"
    own.write_text({1: "9:name=systemd:/a\n4:cpu,memory:/job/7\n0::/\n", 2: "0::/job/7\n"}[version])
    top = tmp_path / "memory" if version == 1 else tmp_path
    group(top / "job/7", NO_LIMIT[version], 900, 0, version=version)
    assert memory._of_cgroups(tmp_path, own) is None
    group(top / "job", 1000, 900, 300, version=version)
    assert memory._of_cgroups(tmp_path, own) == 400
    group(top / "job/7", 950, 900, 100, version=version)
    assert memory._of_cgroups(tmp_path, own) == 150
    group(top / "job/7", 100, 900, 100, version=version)
    assert memory._of_cgroups(tmp_path, own) == 0


@pytest.mark.parametrize("version", [1, 2])
def test_a_group_that_a_container_does_not_show_by_its_own_name(tmp_path, version):
    own = tmp_path / "own"
    own.write_text({1: "4:memory:/docker/f00\n", 2: "0::/../../f00\n"}[version])
    group(tmp_path / "memory" if version == 1 else tmp_path, 1000, 100, 0, version=version)
    assert memory._of_cgroups(tmp_path, own) == 900


def test_no_groups_are_no_limit(tmp_path):
    assert memory._of_cgroups(tmp_path, tmp_path / "none") is None


def test_ulimit_counts():
    program = "from diffusionblend.machine.memory import free_bytes; print(free_bytes())"
    free = free_bytes()
    assert free is None or free > 0
    for limit, least, most in ((resource.RLIMIT_AS, 1, 400), (resource.RLIMIT_DATA, 200, 400)):
        ended = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True,
            preexec_fn=lambda name=limit: resource.setrlimit(name, (400 * MIB, 400 * MIB)),
        )  # fmt: skip
        assert least * MIB < int(ended.stdout) < most * MIB


def test_a_batch_that_does_not_fit_is_halved_and_gives_the_same():
    x, sizes = torch.rand(11, 4, 4), []

    def double(groups):
        sizes.append(len(groups))
        if len(groups) > 3:
            raise RuntimeError(CPU_SAYS)
        return 2 * groups

    assert torch.equal(blend(double, x, single(11), batch_size=8), 2 * x)
    assert sizes == [8, 4, 2, 2, 4, 2, 2, 3]


@pytest.mark.parametrize("said", [CPU_SAYS, "some bug"])
def test_what_does_not_fit_by_itself_and_other_failures_are_raised(said):
    def fail(groups):
        raise RuntimeError(said)

    with pytest.raises(RuntimeError, match=said[-8:]):
        blend(fail, torch.rand(4, 2, 2), single(4), batch_size=4)


def test_only_a_lack_of_memory_is_told_as_such():
    with pytest.raises(KeyError), memory_of("a", 1, "b"):
        raise KeyError
    with pytest.raises(RuntimeError, match="shapes"), memory_of("a", 1, "b"):
        raise RuntimeError("shapes differ")


def assert_out_of_memory(ended, *words):
    assert ended.code == 6, ended.err
    line = ended.err.splitlines()[-1]
    assert line.startswith("diffusionblend: ")
    assert all(word in line for word in words), line
    assert "Traceback" not in ended.err


WORDS = ("needs about", "are free", "take fewer slices or larger pixels")


def run(data, place, *more):
    words = ("--prior", data.prior, "--steps", 2)
    return command("reconstruct", data.scan, *words, *more, "-o", place / "o.nii.gz")


def test_what_does_not_fit_is_told_before_the_work(data, place, monkeypatch):
    monkeypatch.setattr("diffusionblend.reconstruction.footprint.free_bytes", lambda: 100 * MIB)
    monkeypatch.setattr("diffusionblend.methods.method.run", None)
    assert_out_of_memory(run(data, place), "12 slices of 64 x 64", *WORDS)
    assert not list(place.iterdir())


def test_memory_that_runs_out_on_the_way_is_told(data, place, monkeypatch):
    def fail(*_):
        raise RuntimeError(CPU_SAYS)

    monkeypatch.setattr("diffusionblend.reconstruction.reconstruct.assess", fail)
    monkeypatch.setattr("diffusionblend.reconstruction.draw.draw_samples", fail)
    assert_out_of_memory(run(data, place), "12 slices of 64 x 64", *WORDS)


def test_the_classical_reconstruction_is_named_where_leaving_it_out_helps(monkeypatch):
    from diffusionblend.geometry import Geometry, Grid
    from diffusionblend.geometry.acquisitions import parallel_beam, sparse_view
    from diffusionblend.methods.options import make_method
    from diffusionblend.reconstruction.footprint import enough_memory
    from diffusionblend.reconstruction.request import Request

    grid = Grid.from_spacing((300, 512, 512))
    geometry = Geometry(grid, parallel_beam(grid, sparse_view(60)))
    monkeypatch.setattr("diffusionblend.reconstruction.footprint.free_bytes", lambda: 2**30)
    method = make_method("diffusionblend++")
    words = r"\(`classical=False`: \d+\.\d GiB\)"
    with (
        pytest.raises(OutOfMemory, match=words),
        enough_memory(Request(geometry, method), cpu=True),
    ):
        pass
    alone = Request(geometry, method, classical=False)
    with pytest.raises(OutOfMemory) as raised, enough_memory(alone, cpu=True):
        pass
    assert "classical" not in str(raised.value)


def test_a_prior_that_does_not_fit_is_not_blamed(data, place, monkeypatch):
    class Large:
        def __init__(self, *_):
            raise RuntimeError(CPU_SAYS)

    monkeypatch.setattr("diffusionblend.prior.store.UNetPrior", Large)
    ended = run(data, place)
    assert_out_of_memory(ended, "model.safetensors: the network needs about", "are free")
    assert "copy the folder" not in ended.err


@pytest.mark.parametrize("mib", [1400, 1900])
def test_under_a_limit_of_ulimit_there_is_one_line_and_no_traceback(data, place, mib):
    """At the least of these the network does not fit, or a thread, or a library, or the volume."""
    words = ["reconstruct", data.scan, "--method", "sbtv", "--set", "iterations=3"]
    ended = subprocess.run(
        [sys.executable, "-m", "diffusionblend", *map(str, words), "-o", place / "o.nii.gz"],
        capture_output=True, text=True, check=False, timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (mib * MIB, mib * MIB)),
    )  # fmt: skip
    assert "Traceback" not in ended.stderr
    assert ended.returncode in (0, 6), ended.stderr


# On a device that is pretended, which says what CUDA says

CUDA_SAYS = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB of "
    "which 17.75 MiB is free. Of the allocated memory 78.20 GiB is allocated by PyTorch"
)


def made(data, device):
    options = {"method": "diffusionblend-fast", "steps": 2, "classical": False}
    return reconstruct(read_scan(data.scan), prior=data.prior, device=device, **options).hu


def too_large(function, most, sizes):
    """Let a function of a module lack memory for more than some groups."""

    def call(self, x, *more):
        sizes.append(len(x))
        if len(x) > most:
            raise torch.cuda.OutOfMemoryError(CUDA_SAYS)
        return function(self, x, *more)

    return call


def test_a_batch_that_a_device_has_no_memory_for_is_halved_to_the_same(data, monkeypatch):
    """Within the network, which is given six groups at once: sums of a batch differ in the end."""
    with pretended() as device:
        whole, sizes = made(data, device), []
        monkeypatch.setattr(UNetPrior, "forward", too_large(UNetPrior.forward, 2, sizes))
        found = made(data, device)
    assert sizes[:6] == [6, 3, 1, 2, 3, 1]
    assert abs(found - whole).max() < 0.01  # HU


def test_what_a_device_has_no_memory_for_is_one_line_and_the_device_works_on(data, monkeypatch):
    """Within the network by a single group, and within the operator, which nobody can halve."""
    scans = "12 slices of 64 x 64 pixels"
    with pretended() as device:
        whole = made(data, device)
        for owner, name in ((UNetPrior, "forward"), (MatrixProjector, "product")):
            with monkeypatch.context() as patched:
                patched.setattr(owner, name, too_large(getattr(owner, name), 0, []))
                left = "17.75 MiB are free on the device; take fewer slices or larger"
                with pytest.raises(OutOfMemory, match=f"{scans}.* {left}"):
                    made(data, device)
            torch.testing.assert_close(
                torch.from_numpy(made(data, device)), torch.from_numpy(whole)
            )
