"""Right scans of bodies with parts that let hardly any ray through: nothing is doubted."""

import numpy as np
import pytest

from diffusionblend.io.projections.importing import import_scan
from diffusionblend.io.projections.options import Options
from support import cases
from support.phantoms import Ellipsoid

PLATES = {"lead": (20.0, 2.0, 5.0), "a bar": (12.0, 5.0, 5.0), "a rod": (10.0, 10.0, 0.5)}
"""Half lengths in mm, and attenuation per mm."""


@pytest.mark.parametrize("photons", [1e3, 2e4])
@pytest.mark.parametrize("views", [60, 180])
@pytest.mark.parametrize("kind", ["parallel", "fan"])
@pytest.mark.parametrize("plate", PLATES)
def test_opaque_parts_raise_no_doubt(tmp_path, plate, kind, views, photons):
    """Noise of few rays is no change of views, and their line integrals are too small for sums."""
    *halves, mu = PLATES[plate]
    geometry = cases.beam(kind, views, size=128, slices=3)
    opaque = (Ellipsoid((-8.0, 10.0, 0.0), (*halves, np.inf), 0.4), mu)
    y = cases.project([*cases.phantom(), opaque], geometry)
    np.save(tmp_path / "white.npy", cases.fields(geometry, photons))
    path = cases.write_case(tmp_path, cases.counts(y, photons), geometry, quantity="counts")
    scan = import_scan(path, Options(white=tmp_path / "white.npy"))
    assert scan.provenance.get("warnings", "") == ""
