"""Stripes: bins that say a little too much or too little in all views, and make rings.

`median` takes a bin's constant offset away: the median over the views of what a running median of
bins does not explain. It leaves data without stripes as they are, and needs no size. Those of
algotom (Vo et al. 2018) sort each bin's values first, which finds stripes that change with the
values too; made for detectors of thousands of bins, they smooth away what is as narrow on smaller
ones (docs/files.md has figures).
"""

import functools
from collections.abc import Callable
from typing import Literal

import numpy as np
from scipy.ndimage import median_filter

from diffusionblend.errors import UnsupportedInput
from diffusionblend.io.formats.foreign import extra
from diffusionblend.machine.quiet import quiet
from diffusionblend.progress import counted

WINDOW = 9
Removal = Literal["none", "median", "sorting", "all"]


def remove_stripes(y: np.ndarray, how: Removal) -> np.ndarray:
    """Remove stripes from line integrals (rows, views, bins), row by row, in place."""
    if how == "none":
        return y
    clean = offsets_removed if how == "median" else _algotom(how)
    for sinogram in counted("stripes", list(y)):
        try:
            with quiet():
                sinogram[:] = clean(sinogram)
        except (ValueError, IndexError) as error:
            raise UnsupportedInput(
                f"`stripes={how!r}`: algotom cannot use this sinogram ({error}); give "
                "`stripes='median'` or 'none'"
            ) from error
    return y


def offsets_removed(sinogram: np.ndarray) -> np.ndarray:
    """Return a sinogram (views, bins) without the constant offset of each bin."""
    size = (1, min(WINDOW, sinogram.shape[1]))
    left = sinogram - median_filter(sinogram, size, mode="nearest")
    return sinogram - np.median(left, axis=0)


def _algotom(how: Removal) -> Callable[[np.ndarray], np.ndarray]:
    with extra(f"`stripes={how!r}`", "algotom", "projections"):
        from algotom.prep import removal
    if how == "sorting":
        return functools.partial(removal.remove_stripe_based_sorting, size=WINDOW)
    return removal.remove_all_stripe
