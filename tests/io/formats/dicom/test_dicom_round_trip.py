"""The demonstration scan through DICOM and back, both ends being SimpleITK's."""

import pytest

from support.studies import study

script = study("dicom_round_trip")


@pytest.fixture(scope="module")
def source(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dicom")
    return script.write_series(data.volume, folder / "source"), folder


@pytest.mark.parametrize("beam", ["fan", "cone"])
def test_what_comes_back_lies_where_it_was_and_says_whose_it_is(source, beam):
    written, folder = source
    facts = script.there_and_back(folder / "source", written, folder, beam, "--method", "fbp")
    assert facts["slices"] == 12
    assert float(facts["apart_mm"]) < 1e-4
    assert float(facts["rounding_hu"]) <= 0.501
    assert float(facts["rms_hu"]) < 350  # by a mirror image 500
    assert facts["same_frame"]
    assert facts["same_study"]
    assert not facts["same_series"]
