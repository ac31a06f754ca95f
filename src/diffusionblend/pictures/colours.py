"""Grey scales and colours: what of the HU is seen, and how.

The colours of a difference are a path through OKLab (Ottosson 2020), where distance is what the
eye sees: from a light neutral at zero, lightness falls and chroma grows by the same amount on
both sides, so that errors of +100 and -100 HU look equally strong.
"""

import functools
from dataclasses import dataclass

import numpy as np

CHEST_HU = (-1000.0, 400.0)
DIFFERENCE_HU, DEVIATION_HU = 500.0, 200.0


@dataclass(frozen=True)
class Window:
    """What of the HU is shown from black to white.

    Attributes:
        key: A word for styles.
        name: What it is for.
        centre: Centre in HU.
        width: Width in HU.
    """

    key: str
    name: str
    centre: float
    width: float

    @property
    def words(self) -> str:
        """What it is for, within a sentence."""
        return self.name.lower()

    @property
    def limits_hu(self) -> tuple[float, float]:
        """Black and white, in HU."""
        return self.centre - self.width / 2, self.centre + self.width / 2


HEART = Window("heart", "Heart", 100.0, 700.0)
"""Tells the chambers of the heart, the vessels and the vertebrae of a body with contrast apart."""
LUNG, SOFT, BONE = WINDOWS = (
    Window("lung", "Lung", -600.0, 1500.0),
    Window("soft", "Soft tissue", 40.0, 400.0),
    Window("bone", "Bone", 400.0, 1800.0),
)

_LIGHTNESS, _CHROMA = (0.97, 0.40), 0.155  # at zero and at the ends; all within sRGB
_ZERO = 127
_HUES_DEG = (258.0, 30.0)  # blue below zero, red above: distinguishable by the colour-blind, too
_LMS_FROM_OKLAB = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_RGB_FROM_LMS = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def grey(hu: np.ndarray, window_hu: tuple[float, float]) -> np.ndarray:
    """Map HU (...) to grey values, uint8: black at and below the window, white above."""
    low, high = window_hu
    return np.rint(255 * np.clip((hu - low) / (high - low), 0, 1)).astype(np.uint8)


def diverging(difference_hu: np.ndarray) -> np.ndarray:
    """Map differences (...) in HU to numbers of colours, uint8, full at `DIFFERENCE_HU`."""
    scaled = np.clip(difference_hu / DIFFERENCE_HU, -1, 1)
    return np.rint(_ZERO * (scaled + 1)).astype(np.uint8)


def deviation(std_hu: np.ndarray) -> np.ndarray:
    """Map deviations (...) in HU to numbers of colours, uint8: full at `DEVIATION_HU`."""
    return np.rint(_ZERO * (1 + np.clip(std_hu / DEVIATION_HU, 0, 1))).astype(np.uint8)


@functools.cache
def colours() -> np.ndarray:
    """Return the colours (255, 3), uint8, from -1 over zero (number 127) to +1."""
    scaled = np.linspace(-1, 1, 255)
    hue = np.deg2rad(np.where(scaled < 0, *_HUES_DEG))
    lightness = np.interp(np.abs(scaled), (0, 1), _LIGHTNESS)
    chroma = _CHROMA * np.abs(scaled)
    oklab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)])
    linear = np.clip(_RGB_FROM_LMS @ (_LMS_FROM_OKLAB @ oklab) ** 3, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * srgb.T).astype(np.uint8)


def grey_bar() -> np.ndarray:
    """Return the grey scale from black to white, (1, 256), uint8."""
    return np.arange(256, dtype=np.uint8)[None]


def difference_bar() -> np.ndarray:
    """Return the colours' numbers from -`DIFFERENCE_HU` to +`DIFFERENCE_HU`, (1, 255), uint8."""
    return np.arange(2 * _ZERO + 1, dtype=np.uint8)[None]


def deviation_bar() -> np.ndarray:
    """Return the colours' numbers from 0 to `DEVIATION_HU`, (1, 128), uint8."""
    return difference_bar()[:, _ZERO:]
