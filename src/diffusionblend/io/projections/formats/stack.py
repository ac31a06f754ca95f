"""A stack of projections, in a file or a folder, that can be read in parts.

Whatever the order on disk, a stack is (views, rows, bins). What a header claims is compared with
what the file can hold before memory is used for it.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diffusionblend.data.scan import MAX_VALUES
from diffusionblend.errors import CorruptInput, UnsupportedInput, UsageError

AXES = ("view", "row", "bin")
Reader = Callable[[Sequence[int], slice], np.ndarray]


@dataclass(frozen=True)
class Stack:
    """Projections that are read when they are asked for.

    Attributes:
        name: What to call them in messages.
        shape: Views, rows, bins.
        dtype: Of the values as they are stored.
        reader: Reads some views and rows (views, rows, bins).
        scaled: By what the stored numbers were multiplied and moved, as the file says, in words.
    """

    name: str
    shape: tuple[int, int, int]
    dtype: np.dtype
    reader: Reader
    scaled: str = ""

    def read(self, views: Sequence[int] | None = None, rows: slice = slice(None)) -> np.ndarray:
        """Read some views (all of them without `views`) and rows (views, rows, bins), float32."""
        chosen = range(self.shape[0]) if views is None else views
        count = len(range(*rows.indices(self.shape[1])))
        values = len(chosen) * count * self.shape[2]
        if values > MAX_VALUES:
            raise UnsupportedInput(
                f"{self.name}: {len(chosen)} views of {count} x {self.shape[2]} pixels are "
                f"{values} values; expected at most {MAX_VALUES}; take fewer by `rows` or `views`"
            )
        with np.errstate(over="ignore"):  # what becomes infinite is found later
            return np.ascontiguousarray(self.reader(chosen, rows), dtype=np.float32)


@dataclass(frozen=True)
class Scale:
    """A straight line from numbers as they are stored to values: `slope * stored + start`."""

    slope: float = 1.0
    start: float = 0.0

    @property
    def words(self) -> str:
        """What is to be said of it."""
        if self == Scale():
            return ""
        return f"stored numbers times {self.slope:.6g} plus {self.start:.6g}, as the file says"

    def of(self, stored: np.ndarray) -> np.ndarray:
        """Return values, float32; what is stored as a value is left as it is."""
        if self == Scale():
            return stored
        return np.asarray(stored * self.slope + self.start, dtype=np.float32)


def scale_of(name: object, stated: Mapping[str, object]) -> Scale:
    """Return the scale that a file states beside numbers: that of CIL, or of netCDF's conventions.

    CIL stores `scale` times a value plus `offset`; a value of netCDF is `scale_factor` times the
    stored number plus `add_offset`. Either may call one alone something else.
    """
    inverse = "scale" in stated and "offset" in stated
    if not inverse and "scale_factor" not in stated:
        return Scale()
    names = ("scale", "offset") if inverse else ("scale_factor", "add_offset")
    try:
        times, plus = (np.asarray(stated.get(n, 0.0), np.float64).item() for n in names)
    except (TypeError, ValueError) as error:
        raise CorruptInput(f"{name}: its {' and '.join(names)} are not numbers") from error
    if not (math.isfinite(times) and math.isfinite(plus) and times != 0):
        raise CorruptInput(
            f"{name}: its {names[0]} is {times:g}, its {names[1]} {plus:g}; expected the slope "
            "and offset of the stored numbers; save it again without them"
        )
    return Scale(1 / times, -plus / times) if inverse else Scale(times, plus)


def stack_of(name: str, values: np.ndarray, order: Sequence[str]) -> Stack:
    """Return an array whose axes have the given order as a stack."""

    def read(views: Sequence[int], rows: slice) -> np.ndarray:
        return arrange(values, order)[:, rows][list(views)]

    return Stack(name, arranged_shape(name, values.shape, order), values.dtype, read)


def joined(first: Stack, second: Stack) -> Stack:
    """Return two stacks of the same pixels as one."""

    def read(views: Sequence[int], rows: slice) -> np.ndarray:
        until = first.shape[0]
        parts = (
            first.reader([v for v in views if v < until], rows),
            second.reader([v - until for v in views if v >= until], rows),
        )
        return np.concatenate([np.asarray(part, dtype=np.float32) for part in parts])

    views = first.shape[0] + second.shape[0]
    return dataclasses.replace(first, shape=(views, *first.shape[1:]), reader=read)


def parse_order(text: str) -> tuple[str, ...]:
    """Parse `view,row,bin`."""
    order = tuple(part.strip() for part in text.split(","))
    if sorted(order) not in (sorted(AXES), ["bin", "view"]):
        raise UsageError(
            f"`order={text!r}`: expected view, row and bin in the order of the axes in the file, "
            "for instance view,row,bin; or view,bin for one row"
        )
    return order


def arranged_shape(
    name: object, shape: Sequence[int], order: Sequence[str]
) -> tuple[int, int, int]:
    """Return the shape (views, rows, bins) of an array whose axes have the given order."""
    if len(shape) != len(order):
        cure = "give the order of its axes"
        if len(shape) > len(AXES):
            cure = "save it with only view, row and bin; numpy.squeeze removes axes of one element"
        raise UnsupportedInput(
            f"{name}: has the shape {tuple(shape)}, but its axes are said to be "
            f"{', '.join(order)}; {cure}"
        )
    sizes = dict(zip(order, (int(n) for n in shape), strict=True))
    views, rows, bins = (sizes.get(axis, 1) for axis in AXES)
    if min(views, rows, bins) < 1:
        raise UnsupportedInput(f"{name}: has the shape {tuple(shape)}; expected positive numbers")
    return views, rows, bins


def arrange(values: np.ndarray, order: Sequence[str]) -> np.ndarray:
    """Return a view of an array with its axes in the order (views, rows, bins).

    Axes that it has not are of length 1.
    """
    for axis in AXES:
        if axis not in order:
            values, order = values[None], (axis, *order)
    return values.transpose([list(order).index(axis) for axis in AXES])


def orders_of_fields(order: Sequence[str]) -> list[tuple[str, ...]]:
    """Return what the axes of fields may be, the likeliest first: one picture has no views."""
    same = tuple(order)
    one = tuple(axis for axis in order if axis != "view")
    return list(dict.fromkeys((same, one, AXES, AXES[1:])))


def check_type(name: object, dtype: np.dtype) -> None:
    """Raise UnsupportedInput if values are not one real number each."""
    if dtype.kind not in "iuf":
        raise UnsupportedInput(
            f"{name}: its values are {dtype}; expected real numbers, one per pixel"
        )


def volume_of(shape: Sequence[int], dtype: np.dtype) -> int:
    """Return the bytes of an array."""
    return math.prod(int(n) for n in shape) * dtype.itemsize


def finite_angles(name: object, angles: np.ndarray, views: int) -> np.ndarray:
    """Return angles (views,) as float64."""
    if angles.size != views:
        raise UnsupportedInput(
            f"{name}: {angles.size} angles for {views} views; expected one for each"
        )
    flat = angles.astype(np.float64).ravel()
    if not np.isfinite(flat).all():
        bad = int(np.flatnonzero(~np.isfinite(flat))[0])
        raise CorruptInput(f"{name}: the angle of view {bad} is {flat[bad]}; expected a number")
    return flat
