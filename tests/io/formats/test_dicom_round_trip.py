"""The demonstration scan through DICOM and back, both ends being SimpleITK's."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "studies" / "dicom_round_trip.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def source(data, script, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dicom")
    return script.write_series(data.volume, folder / "source"), folder


@pytest.mark.parametrize("beam", ["fan", "cone"])
def test_what_comes_back_lies_where_it_was_and_says_whose_it_is(script, source, beam):
    written, folder = source
    facts = script.there_and_back(folder / "source", written, folder, beam, "--method", "fbp")
    assert facts["slices"] == 12
    assert float(facts["apart_mm"]) < 1e-4
    assert float(facts["rounding_hu"]) <= 0.501
    assert float(facts["rms_hu"]) < 350  # by a mirror image 500
    assert facts["same_frame"]
    assert facts["same_study"]
    assert not facts["same_series"]
