"""Warnings about slices that belong together: some may be missing, or of another volume."""

import itertools
import logging
from collections.abc import Sequence

import numpy as np

from diffusionblend.io.formats.dicom.slices import LOSS, TURNS, Slice

log = logging.getLogger(__name__)
LOST = "1"
"""What Lossy Image Compression says of pixels that lost something, as a number: 01."""


def tell_of_flat(slices: Sequence[Slice], hu: np.ndarray) -> None:
    """Name slices of one value: they may be air, or room that an interrupted copy left empty."""
    flat = [one.file for one, pixels in zip(slices, hu, strict=True) if not np.ptp(pixels)]
    if 0 < len(flat) < len(hu):
        log.warning(
            "%s: all its pixels have the same value, and so do those of %d other slices; if that "
            "is wrong, copy them again",
            flat[0],
            len(flat) - 1,
        )


def tell_of_gaps(slices: Sequence[Slice], name: str) -> None:
    """Name numbers that are left out: where every second slice is lost, positions are even.

    Where the first or the last slices are lost, numbers show nothing, but their count may.
    """
    acquired = max((one.acquired or 0 for one in slices), default=0)
    found = [one.instance for one in slices if one.instance is not None]
    first, last = min(found, default=0), max(found, default=0)
    if last - first + 1 > len(slices):
        log.warning(
            "%s: its slices are numbered from %d to %d, but there are only %d; if some were "
            "lost, copy the series again",
            name,
            first,
            last,
            len(slices),
        )
    elif acquired > len(slices):
        log.warning(
            "%s: ImagesInAcquisition is %d, but there are only %d slices; if some are missing "
            "or in another folder, put all into one folder",
            name,
            acquired,
            len(slices),
        )


def tell_of_turns(slices: Sequence[Slice]) -> None:
    """Name slices, sorted, of one acquisition or reconstruction between those of another."""
    for tag in TURNS:
        told = [one for one in slices if tag in one.made]
        parts = [key for key, _ in itertools.groupby(one.made[tag] for one in told)]
        if len(set(parts)) < len(parts):
            first, second = parts[:2]
            log.warning(
                "%s: slices of %s %s and %s are interleaved; if they are two scans or two "
                "reconstructions, give only one of them",
                told[0].file,
                tag,
                first,
                second,
            )


def tell_of_pairs(slices: Sequence[Slice]) -> None:
    """Name slices, sorted, of one number beside each other: those of two volumes may alternate.

    Two volumes one above the other may have the same numbers, too, and meet at one pair.
    """
    pairs = [
        (one, other)
        for one, other in itertools.pairwise(slices)
        if one.file != other.file and one.instance is not None and one.instance == other.instance
    ]
    if len(pairs) > 1 and len({one.instance for one, _ in pairs}) > 1:
        one, other = pairs[0]
        log.warning(
            "%s: has the same InstanceNumber, %g, as its neighbour %s, and there are %d more "
            "such pairs; if they are two scans or two reconstructions, give only one of them",
            one.file,
            one.instance,
            other.file.name,
            len(pairs) - 1,
        )


def tell_of_loss(slices: Sequence[Slice], name: str) -> None:
    """Say if pixels were compressed with loss: their HU are near those that were measured."""
    flag, *how = LOSS
    lost = [one for one in slices if one.made.get(flag) == LOST]
    if lost:
        told = [f"{tag} {lost[0].made[tag]}" for tag in how if tag in lost[0].made]
        log.warning(
            "%s: %d of its %d slices were compressed with loss%s, which changed their HU "
            "slightly: give the original series if there is one",
            name,
            len(lost),
            len(slices),
            f" ({', '.join(told)})" if told else "",
        )
