"""The network by OpenVINO: what torch makes of the same weights."""

import copy
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from diffusionblend.errors import UsageError
from diffusionblend.machine.engine import OPENVINO, TORCH, VARIABLE, engine
from diffusionblend.prior import PriorConfig, UNetPrior, from_pretrained
from diffusionblend.prior.openvino import CompiledUNet
from support.commands import command
from support.small_data import save_tiny_prior, with_gains

SHIPPED = from_pretrained("chest")


def noisy(size=(64, 64), groups=3):
    return 0.5 * torch.randn(groups, 3, *size, generator=torch.Generator().manual_seed(0))


def relative(a, b):
    return float((a - b).norm() / b.norm())


@torch.inference_mode()
@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("network", [SHIPPED, SHIPPED.coarse], ids=["fine", "coarse"])
def test_the_network_is_that_of_torch(network, precision):
    """In bfloat16 to its digits, of which torch's own autocast loses as many."""
    compiled = CompiledUNet(network.unet, precision)
    for size, sigma, code in (((64, 96), 0.05, 0), ((32, 32), 0.7, 3), ((64, 96), 5.0, 1)):
        known = noisy(size), torch.full((3,), sigma).log(), torch.full((3,), code)
        exact = network.unet(*known)
        assert relative(compiled(*known), exact) < (1e-5 if precision == "f32" else 2e-2)


@torch.inference_mode()
def test_each_group_has_its_own_noise_and_code():
    compiled = CompiledUNet(SHIPPED.unet, "f32")
    x, sigmas, codes = noisy(), torch.tensor([0.1, 1.0, 3.0]).log(), torch.tensor([0, 1, 3])
    assert relative(compiled(x, sigmas, codes), SHIPPED.unet(x, sigmas, codes)) < 1e-5


@torch.inference_mode()
def test_what_is_denoised_does_not_depend_on_the_groups_beside_it():
    compiled, x = CompiledUNet(SHIPPED.unet, "f32"), noisy(groups=5)
    sigma, code = torch.zeros(5), torch.ones(5).long()
    alone = [compiled(x[k : k + 1], sigma[:1], code[:1]) for k in range(5)]
    assert relative(torch.cat(alone), compiled(x, sigma, code)) < 1e-5
    assert torch.equal(compiled(x, sigma, code), compiled(x, sigma, code))


def test_threads_that_share_a_network_have_their_own_results():
    """As in a program that reconstructs several scans with one prior, each in a thread."""
    compiled = CompiledUNet(SHIPPED.unet, "f32")
    known = [(noisy(groups=k), torch.zeros(k), torch.ones(k).long()) for k in (1, 2, 3)]

    @torch.inference_mode()
    def made(index):
        return compiled(*known[index])

    alone = [made(index) for index in range(3)]
    indices = [0, 1, 2] * 20
    with ThreadPoolExecutor(3) as pool:
        for index, found in zip(indices, pool.map(made, indices), strict=True):
            assert torch.equal(found, alone[index])


@pytest.mark.parametrize(
    "shape", [{"widths": (8, 16)}, {"widths": (8, 8, 24), "blocks": (2, 1, 2)}]
)
def test_networks_of_other_shapes(shape):
    prior = with_gains(UNetPrior(PriorConfig(**{"blocks": (1, 1)} | shape))).requires_grad_(False)
    by_torch = prior.denoise(noisy((50, 37)), 0.5, 1)
    prior.engine = OPENVINO
    assert relative(prior.denoise(noisy((50, 37)), 0.5, 1), by_torch) < 2e-2


def test_one_with_attention_stays_with_torch():
    prior = with_gains(UNetPrior(PriorConfig(widths=(8, 32), blocks=(1, 1), attention=True)))
    by_torch = prior.denoise(noisy(), 0.5, 1)
    prior.engine = OPENVINO
    assert torch.equal(prior.denoise(noisy(), 0.5, 1), by_torch)


def test_a_copy_is_compiled_anew(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, OPENVINO)
    prior = from_pretrained(save_tiny_prior(tmp_path))
    first = prior.denoise(noisy(), 0.5, 1)
    assert torch.equal(copy.deepcopy(prior).denoise(noisy(), 0.5, 1), first)


@pytest.mark.parametrize("how", ["in place", "loaded", "replaced"])
def test_weights_that_have_changed_are_compiled_anew(how, tmp_path, monkeypatch):
    """As where a prior is trained on between two reconstructions."""
    monkeypatch.setenv(VARIABLE, OPENVINO)
    prior = from_pretrained(save_tiny_prior(tmp_path))
    first = prior.denoise(noisy(), 0.5, 1)
    gain = prior.unet.gain
    if how == "in place":
        gain.mul_(0.5)
    elif how == "loaded":
        prior.load_state_dict(prior.state_dict() | {"unet.gain": gain / 2})
    else:
        prior.unet.gain = torch.nn.Parameter(gain / 2, requires_grad=False)
    changed = prior.denoise(noisy(), 0.5, 1)
    prior.engine = TORCH
    assert relative(changed, prior.denoise(noisy(), 0.5, 1)) < 2e-2
    assert relative(first, changed) > 0.1


NETWORKS_THAT_GO = """
import os, signal, torch
from diffusionblend.prior import from_pretrained
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
for size in (16, 32):
    from_pretrained("chest").denoise(torch.zeros(1, 3, size, size), 0.5, 1)
    os.kill(os.getpid(), signal.SIGUSR1)
prior = from_pretrained("chest")
for size in (16, 32):
    prior.denoise(torch.zeros(1, 3, size, size), 0.5, 1)
del prior
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_signals_are_handled_when_networks_have_gone():
    """A child that ended, or Ctrl-C, was a segmentation fault."""
    known = [sys.executable, "-c", NETWORKS_THAT_GO]
    variables = os.environ | {VARIABLE: OPENVINO}
    ended = subprocess.run(known, env=variables, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "handled\n" * 3), ended.stderr


def test_it_is_taken_where_it_is_installed_unless_the_variable_says_otherwise(monkeypatch):
    assert from_pretrained("chest").engine == TORCH
    monkeypatch.delenv(VARIABLE)
    prior = from_pretrained("chest")
    assert prior.engine == prior.coarse.engine == OPENVINO
    monkeypatch.setattr("diffusionblend.machine.engine.find_spec", lambda name: None)
    assert engine() == TORCH
    monkeypatch.setenv(VARIABLE, OPENVINO)
    with pytest.raises(UsageError, match=r"ENGINE=openvino: it is not installed; run `pip install"):
        engine()
    monkeypatch.setenv(VARIABLE, "onnx")
    with pytest.raises(UsageError, match="ENGINE=onnx: expected torch or openvino"):
        engine()


def test_a_volume_is_near_that_of_torch_and_its_record_says_so(data, place, monkeypatch):
    def made(name):
        output = place / f"{name}.nii"
        arguments = "--prior", data.prior, "--set", "steps=3", "--no-classical", "-o", output
        monkeypatch.setenv(VARIABLE, name)
        assert command("reconstruct", data.scan, *arguments).code == 0
        return json.loads(place.joinpath(f"{name}.nii.json").read_text())

    by_torch, by_openvino = made(TORCH), made(OPENVINO)
    assert by_torch["machine"]["engine"] == TORCH
    assert by_openvino["machine"]["engine"] == OPENVINO
    assert "openvino" in by_openvino["versions"]
    assert "openvino" not in by_torch["versions"]
    normalised = [r["quality"]["residual"]["normalised"] for r in (by_torch, by_openvino)]
    assert normalised[1] == pytest.approx(normalised[0], rel=0.05)


def test_a_gradient_goes_through_the_network_of_torch():
    """TPDM takes one, which a compiled network has not."""
    slopes = []
    for name in (TORCH, OPENVINO):
        prior = copy.deepcopy(SHIPPED)
        prior.engine = name
        x = noisy().requires_grad_()
        (slope,) = torch.autograd.grad(prior.denoise(x, 0.5, 1).square().sum(), x)
        slopes.append(slope)
    assert slopes[0].abs().max() > 0
    assert torch.equal(*slopes)


def test_its_import_tells_nobody(place):
    """It imports a package that sends, which is another here, and writes into the home."""
    spy, home = place / "spy", place / "home"
    for folder in (spy, home):
        folder.mkdir()
    (spy / "openvino_telemetry.py").write_text("print('imported')")
    program = "import diffusionblend.prior.openvino, sys; assert 'openvino' in sys.modules; "
    known = {"PYTHONPATH": f"{spy}:{os.environ.get('PYTHONPATH', '')}", "HOME": str(home)}
    for more, said in (("", ""), ("import openvino_telemetry", "imported\n")):
        ended = subprocess.run(
            [sys.executable, "-c", program + more], env=os.environ | known, text=True,
            check=True, capture_output=True,
        )  # fmt: skip
        assert ended.stdout == said
    assert not list(home.glob("intel*"))
