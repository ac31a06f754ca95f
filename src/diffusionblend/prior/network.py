"""The network F: a U-Net that is thin at full resolution and keeps the magnitudes of its signals.

What costs time on a CPU is not arithmetic but passes over memory, so there is nothing that is not
convolution: no group norms. Instead every layer gives outputs of unit variance for inputs of unit
variance (Karras et al. 2024, "Analyzing and improving the training dynamics of diffusion models",
section 2): weights are divided by their norm, sums and SiLUs by the factor that they scale
variance with. Down-sampling is a mean, up-sampling a repetition, and each level has one skip.
"""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

EMBEDDING = 128
RESIDUAL_SHARE = 0.3  # of a block's branch in its sum
SILU_GAIN = 1 / 0.596  # 1 over the root of E[silu(n)^2], n ~ N(0, 1)
_HEAD_CHANNELS = 32
_FREQUENCIES = (0.25, 16.0)  # of the embedding of ln(sigma) / 4, lowest and highest


class UNet(nn.Module):
    """A U-Net whose output is as its input: images of a few channels.

    Args:
        widths: Channels of each level, finest first.
        blocks: Residual blocks of each level, on the way down and on the way up.
        attention: Whether the lowest level attends to all of itself.
        codes: Number of codes: what the network is given for each image beside its noise.
        channels: Channels of the images.
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        blocks: tuple[int, ...],
        attention: bool,
        codes: int,
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.noise = Layer(EMBEDDING // 2, EMBEDDING)
        self.code = nn.Embedding(codes, EMBEDDING)
        # One channel of ones: no layer has a bias of its own.
        self.first = Layer(channels + 1, widths[0], 3)
        inputs = (widths[0], *widths[:-1])
        self.down = nn.ModuleList(
            Level(before, width, count)
            for before, width, count in zip(inputs, widths, blocks, strict=True)
        )
        self.middle = Attention(widths[-1]) if attention else nn.Identity()
        below = (*widths[1:], widths[-1])
        self.up = nn.ModuleList(
            Level(lower + width, width, count)
            for lower, width, count in zip(below, widths, blocks, strict=True)
        )
        self.last = Layer(widths[0], channels, 3)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, log_sigma: Tensor, code: Tensor) -> Tensor:
        """Return F (groups, channels, height, width).

        Args:
            x: Images (groups, channels, height, width) of unit variance.
            log_sigma: ln(sigma) of each group (groups,).
            code: Code of each group (groups,), integers.
        """
        embedding = self.embedding(log_sigma, code)
        x = with_ones(x).contiguous(memory_format=torch.channels_last)
        x = self.first(x)
        skips = []
        for level, blocks in enumerate(self.down):
            x = functional.avg_pool2d(x, 2) if level else x
            x = blocks(x, embedding)
            skips.append(x)
        x = self.middle(x)
        for level in reversed(range(len(self.up))):
            x = self.up[level](torch.cat([x, skips[level]], dim=1), embedding)
            x = functional.interpolate(x, scale_factor=2.0) if level else x
        return self.last(x, self.gain)

    def embedding(self, log_sigma: Tensor, code: Tensor) -> Tensor:
        """Return what the blocks are given for each group (groups, 128)."""
        phase = math.pi / 2 * log_sigma[:, None] * _frequencies(log_sigma.device)
        waves = math.sqrt(2) * torch.cat([phase.cos(), phase.sin()], dim=1)
        return silu(mixed(self.noise(waves), self.code(code), 0.5))


class Level(nn.ModuleList):
    """Residual blocks of one width, one after another."""

    def __init__(self, inputs: int, outputs: int, count: int) -> None:
        channels = [inputs, *[outputs] * count]
        super().__init__(Block(a, b) for a, b in itertools.pairwise(channels))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Return (groups, outputs, height, width)."""
        for block in self:
            x = block(x, embedding)
        return x


class Block(nn.Module):
    """A residual block: two convolutions, the embedding scales the channels between them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.skip = Layer(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.first = Layer(outputs, outputs, 3)
        self.embedding = Layer(EMBEDDING, outputs)
        self.gain = nn.Parameter(torch.zeros(()))
        self.second = Layer(outputs, outputs, 3)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Return (groups, outputs, height, width)."""
        x = self.skip(x)
        scale = 1 + self.embedding(embedding, self.gain)
        # Factors go into the weights, which are small: each pass over x that is saved is time.
        y = self.first(functional.silu(x), SILU_GAIN) * scale[:, :, None, None].to(x.dtype)
        kept, added = shares(RESIDUAL_SHARE)
        return torch.add(self.second(functional.silu(y), added * SILU_GAIN), x, alpha=kept)


class Attention(nn.Module):
    """Self-attention over all pixels, with queries and keys of unit length."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // _HEAD_CHANNELS)
        self.inner = Layer(channels, 3 * channels, 1)
        self.outer = Layer(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (groups, channels, height, width)."""
        shape = (3, self.heads, x.shape[1] // self.heads)
        q, k, v = self.inner(x).flatten(2).unflatten(1, shape).transpose(-1, -2).unbind(1)
        scale = math.sqrt(math.sqrt(shape[-1]))
        q, k = (scale * functional.normalize(a, dim=-1) for a in (q, k))
        y = functional.scaled_dot_product_attention(q, k, v, scale=1.0)
        y = y.transpose(-1, -2).flatten(1, 2).unflatten(-1, x.shape[2:])
        return mixed(x, self.outer(y), RESIDUAL_SHARE)


class Layer(nn.Module):
    """A linear map, or a convolution, whose weights are divided by their norm when used.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        size: Side of the kernel; 0 for a linear map of vectors.
    """

    def __init__(self, inputs: int, outputs: int, size: int = 0) -> None:
        super().__init__()
        kernel = (size, size) if size else ()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, *kernel))

    def forward(self, x: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        """Return `gain` times the map of x."""
        weight = self.scaled(gain)
        if weight.ndim == 2:
            return functional.linear(x, weight)
        return functional.conv2d(x, weight, padding=weight.shape[-1] // 2)

    def scaled(self, gain: Tensor | float = 1.0) -> Tensor:
        """Return `gain` times the weights, divided by their norm (outputs, inputs, ...)."""
        norm = self.weight.flatten(1).norm(dim=1).view(-1, *[1] * (self.weight.ndim - 1))
        return self.weight * (gain / (norm + 1e-4))


def with_ones(x: Tensor) -> Tensor:
    """Return images (groups, channels, ...) with one channel of ones more."""
    return torch.cat([x, torch.ones_like(x[:, :1])], dim=1)


def silu(x: Tensor) -> Tensor:
    """Return SiLU(x), of unit mean square for x ~ N(0, 1)."""
    return functional.silu(x) * SILU_GAIN


def mixed(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Return the sum of two signals, `share` of it b, of unit variance if theirs is."""
    kept, added = shares(share)
    return kept * a + added * b


def shares(share: float) -> tuple[float, float]:
    """Return the factors of two signals in a sum of unit variance, `share` of it the second."""
    norm = math.hypot(1 - share, share)
    return (1 - share) / norm, share / norm


def _frequencies(device: torch.device) -> Tensor:
    low, high = (math.log(f) for f in _FREQUENCIES)
    return torch.exp(torch.linspace(low, high, EMBEDDING // 4, device=device, dtype=torch.float32))
