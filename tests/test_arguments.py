"""Arguments of a wrong type: one sentence, and nothing is refused that fits."""

import contextlib
import inspect
import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

import diffusionblend as db
from diffusionblend.arguments import _fits, checked
from diffusionblend.errors import DiffusionBlendError, InvalidValue, UnsupportedInput, UsageError
from diffusionblend.geometry import Pose, PosedBeam, geometry_from_json
from support.phantoms import placed

GRID = db.Grid.from_spacing((1, 8, 8))
GEOMETRY = placed(db.parallel_beam, GRID, db.sparse_view(4))
VOLUME = db.Volume(np.zeros(GRID.shape), GRID)
SCAN = db.Scan(np.zeros(GEOMETRY.sinogram_shape), GEOMETRY)
KNOWN = {
    "scan": SCAN, "geometry": GEOMETRY, "grid": GRID, "beam": GEOMETRY.beam, "views": 4,
    "degrees": 4, "angles_deg": (0.0, 10.0), "angles": (0.0, 1.0), "bins": 4, "bin_mm": 1.0,
    "rows": 4, "row_mm": 1.0, "sod_mm": 100.0, "sdd_mm": 200.0, "path": "v.nii.gz", "hu": VOLUME.hu,
    "y": SCAN.y, "name": "fbp", "method": "fbp",
}  # fmt: skip
"""Arguments that are right; for others a volume is taken."""
ELSEWHERE = {"view", "demo", "train", "benchmark", "push", "Prior", "Projector", "Step"}
"""What works for long, or is made by the package alone."""
PUBLIC = sorted(set(db.__all__) - ELSEWHERE - {"__version__", "Reconstruction", "Grid"})
TAKES_ANYTHING = {"callback", "beam"}
"""Functions of the caller's, which may raise what they like."""
WRONG = (None, 3, 2.5, "x", b"x", [[1, 2], [3, 4]], object(), np.zeros((2, 2)), {}, lambda: 0)


@pytest.mark.parametrize("name", [n for n in PUBLIC if not n.startswith("DiffusionBlend")])
@pytest.mark.filterwarnings("ignore")
def test_a_wrong_type_is_an_expected_failure(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    function = getattr(db, name)
    parameters = inspect.signature(function).parameters.values()
    named = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    right = {p.name: KNOWN.get(p.name, VOLUME) for p in named if p.default is p.empty}
    right |= {"method": "fbp"} if name == "reconstruct" else {}
    for parameter in named:
        for wrong in WRONG:
            if callable(wrong) and parameter.name in TAKES_ANYTHING:
                continue
            with contextlib.suppress(DiffusionBlendError):  # anything else is a failure
                function(**right | {parameter.name: wrong})


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: db.reconstruct("x.h5", method=3), "`method=3`: reconstruct expects text or a "),
        (lambda: db.simulate(3, [0.0]), "`volume=3`: simulate expects a Volume or "),
        (lambda: db.sparse_view(None), "`views=None`: sparse_view expects a whole number"),
        (lambda: db.parallel_beam(GRID, [[1.0]]), "`angles_deg` is a list: parallel_beam expects "),
        (lambda: db.Scan(SCAN.y, GRID), "`geometry` is a Grid: Scan expects a Geometry"),
        (lambda: db.Noise("many"), "`photons='many'`: Noise expects a number or None"),
        (lambda: db.Geometry(GRID, "fan"), "`beam='fan'`: Geometry expects a Beam"),
        (lambda: db.simulate(VOLUME, 8), "`angles_deg=8`: simulate expects several numbers"),
        (
            lambda: db.simulate(VOLUME, [0.0], beam="cone"),
            "`beam='cone'`: simulate expects a function, not its name",
        ),
        (
            lambda: db.simulate(VOLUME, [0.0], beam=db.fan_beam),
            "`beam`: missing a required argument: 'sod_mm'; give what else it needs by functools.",
        ),
        (
            lambda: db.simulate(VOLUME, [0.0], provenance={"seed": 1}),
            "`provenance` is a dict: simulate expects ",
        ),
        (lambda: db.simulate(VOLUME, [0.0], mu_water=float("nan")), "`mu_water=nan`: expected "),
        (lambda: db.simulate(VOLUME, [0.0], mu_water=-0.02), "`mu_water=-0.02`: expected "),
        (lambda: db.sparse_view(4, float("nan")), "an arc of nan degrees; expected a finite num"),
        (
            lambda: db.evaluate(VOLUME, None),
            "`truth=None`: evaluate expects a Volume or a Reconstruction or text or a path or a "
            "NumPy array or a torch tensor",
        ),
        (
            lambda: db.report(VOLUME, "r.html"),
            "`volumes` is a Volume: report expects text or a path or several texts or paths; "
            "write it with `save`, `write_volume` or `write_scan`, and give the name of the file",
        ),
        (
            lambda: db.write_volume(VOLUME.hu, "v.nii.gz"),
            "`volume` is a ndarray: write_volume expects a Volume or a Reconstruction; make one: "
            "Volume(array, Grid.from_spacing(array.shape, (z, y, x) in mm))",
        ),
        (
            lambda: db.reconstruct(SCAN, "fbp", seed=-1),
            "`seed=-1`: expected 0 to 92233720368547758",
        ),
        (lambda: db.reconstruct(SCAN, "fbp", seed=2**64), "`seed=18446744073709551616`: expected "),
        (lambda: db.reconstruct(SCAN, "fbp", device="meta"), "`device='meta'`: not on this machi"),
        (lambda: db.reconstruct(VOLUME), "got a Volume, which is already reconstructed; "),
        (lambda: db.Grid.from_spacing(8), "a grid of the shape 8; expected three numbers: "),
        (
            lambda: db.Grid.from_spacing((1, 8, 8), (1, 1)),
            "spacing_mm is (1, 1); expected positive numbers of mm: (z, y, x)",
        ),
        (lambda: db.Grid.from_spacing((8, 8), 1), "spacing_mm is 1; expected positive numbers "),
    ],
)
def test_the_sentence_names_parameter_value_and_what_is_expected(call, said):
    with pytest.raises(UsageError) as found:
        call()
    assert str(found.value).startswith(said)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: db.simulate(VOLUME.hu[0], [0.0], spacing_mm=(1, 1, 1)),
            "the array has the shape (8, 8), expected (slices, rows, columns): one slice is "
            "array[None], ",
        ),
        (
            lambda: db.Scan(SCAN.y[0], GEOMETRY),
            f"line integrals have the shape {SCAN.y.shape[1:]}, the geometry needs {SCAN.y.shape} "
            "(detector rows, views, bins); one row is y[None]",
        ),
        (
            lambda: db.Volume(np.zeros((0, 8, 8)), db.Grid.from_spacing((0, 8, 8))),
            "the volume has the shape (0, 8, 8), without a voxel; expected at least one",
        ),
        (
            lambda: db.Scan(SCAN.y.transpose(1, 2, 0), GEOMETRY),
            "line integrals have the shape (4, 12, 1), the geometry needs (1, 4, 12) (detector "
            "rows, views, bins); the axes are in the wrong order; use y.transpose(2, 0, 1)",
        ),
    ],
)
def test_a_shape_that_does_not_fit_says_what_makes_it_fit(call, said):
    with pytest.raises(UnsupportedInput) as found:
        call()
    assert str(found.value).startswith(said)


@pytest.mark.parametrize(
    ("hint", "right", "wrong"),
    [
        (
            int,
            [3, True, np.int64(3), np.array(3), torch.tensor(3)],
            [3.0, "3", None, np.zeros(2, int), np.array(2.5), torch.tensor(2.5)],
        ),
        (
            float,
            [3, 2.5, np.float32(1), Fraction(1, 3), torch.tensor(0.5)],
            ["2.5", np.str_("2.5"), None, [1.0], np.zeros(2), torch.tensor(1j)],
        ),
        (bool, [True, np.bool_(False)], ["no", None]),
        (str | Path, ["a", Path("a")], [3, None, b"a"]),
        (Sequence[float], [[1], (1.0, 2), range(3), np.zeros(3), []], ["12", 3, {1: 2}, [[1]]]),
        (tuple[int, ...], [(1, 2), [1]], [("a",), "ab", iter([1])]),
        (tuple[float, float], [(1.0, 2), np.zeros(2)], [(1.0,), (1.0, 2.0, 3.0), np.zeros((2, 2))]),
        (Sequence[str] | None, [None, ["a"]], [["a", 3]]),
        (Mapping[str, int], [{}, {"a": 1}], [[], "a"]),
        (Literal["flat", "curved"], ["flat", "round"], [3, None]),
        (Callable[[int], int], [abs, lambda: 0], [3, "abs"]),
        (np.ndarray | torch.Tensor, [np.zeros(2), torch.zeros(2), [1], VOLUME], [3, "a", None]),
        (Any, [3, None, object()], []),
    ],
)  # fmt: skip
def test_types(hint, right, wrong):
    assert [_fits(value, hint) for value in right] == [True] * len(right)
    assert [_fits(value, hint) for value in wrong] == [False] * len(wrong)


NUMBERS = (np.float32(2), np.float64(2), np.int64(2), np.array(2.0), torch.tensor(2.0), True)


@pytest.mark.parametrize("number", NUMBERS, ids=repr)
@pytest.mark.filterwarnings("ignore::diffusionblend.DiffusionBlendWarning")
def test_numbers_of_other_libraries_reach_files_as_python_s_own(number, tmp_path):
    beam = db.FanBeam(
        angles_deg=np.array([0.0, number]), bins=np.int64(9), bin_mm=number,
        sod_mm=100 * number, sdd_mm=torch.tensor(200.0),
    )  # fmt: skip
    pose = Pose(np.array([0.0, -100, 0]), np.array([0.0, 100, 0]))
    posed = PosedBeam(
        angles_deg=(number,), bins=9, bin_mm=number, poses=(pose,), rows=np.int64(1), row_mm=1.0
    )
    grid = db.Grid((np.int64(1), 8, 8), np.diag(4 * [float(number)]))
    for each in (beam, posed):
        geometry = db.Geometry(grid, each)
        assert geometry_from_json(geometry.to_json()) == geometry
    scan = db.Scan(np.ones((1, 2, 9)), db.Geometry(grid, beam), db.Noise(number), number)
    db.write_scan(scan, tmp_path / "scan.h5")
    assert db.read_scan(tmp_path / "scan.h5").digest == scan.digest
    made = db.reconstruct(scan, "fbp", mu_water=number, scale=number, classical=False)
    db.save(made, tmp_path / "made.nii.gz")
    assert type(made.mu_water) is type(made.scale) is float
    assert type(made.seeds[0]) is int


def test_a_checked_function_is_still_the_function():
    assert db.sparse_view.__doc__ == inspect.unwrap(db.sparse_view).__doc__
    assert pickle.loads(pickle.dumps(db.sparse_view)) is db.sparse_view
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        db.sparse_view()
    with pytest.raises(TypeError, match="unexpected keyword"):
        db.sparse_view(3, arcs=180)
    assert checked(lambda a, *b, **c: (a, b, c))(1, 2, d=3) == (1, (2,), {"d": 3})


def test_a_wrong_field_is_a_value_error_too():
    with pytest.raises(InvalidValue, match="angles_deg"):
        db.ParallelBeam(angles_deg=3, bins=4, bin_mm=1.0)
    with pytest.raises(ValueError, match="bins"):
        db.ParallelBeam(angles_deg=(0.0,), bins="4", bin_mm=1.0)


def test_numbers_of_numpy_and_torch_are_options():
    for three in (np.int64(3), torch.tensor(3), np.float64(3), "3"):
        assert db.make_method("tv", iterations=three) == db.make_method("tv", iterations=3)
    with pytest.raises(UsageError, match="iterations"):
        db.make_method("tv", iterations=np.array([3, 4]))


def test_arrays_between_0_and_1_are_told_to_be_no_hu():
    a, b = np.random.default_rng(0).random((2, 4, 16, 16))
    with pytest.warns(db.DiffusionBlendWarning, match="from 0.*to 0.99.* is compared as HU"):
        db.evaluate(a, b)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        db.evaluate(2000 * a - 1000, 2000 * b - 1000)
