"""Whose scan it is stands in DICOM alone: in no log, page, picture's text, record or file name."""

import pydicom
import pytest

from diffusionblend.io.volumes import read_volume, write_volume
from support.commands import command, contents, user_command

NAME, NUMBER, BIRTH = "Canary^Jane", "ID-CANARY-7", "19010203"
SECRETS = [b"Canary", b"CANARY", BIRTH.encode()]


@pytest.fixture
def series(data, tmp_path):
    """A DICOM series of a patient with a name."""
    folder = tmp_path / "series"
    write_volume(read_volume(data.volume), folder)
    for path in folder.iterdir():
        slice_ = pydicom.dcmread(path)
        slice_.PatientName, slice_.PatientID, slice_.PatientBirthDate = NAME, NUMBER, BIRTH
        slice_.save_as(path)
    return folder


def test_who_a_patient_is_goes_from_series_to_series_and_nowhere_else(
    series, place, monkeypatch, caplog
):
    caplog.set_level("DEBUG")
    monkeypatch.chdir(place)
    fast = ("--method", "sbtv", "--set", "iterations=2", "--no-classical")
    lines = [
        ("info", series),
        ("info", series, "--json"),
        ("simulate", series, "-o", "s.h5", "--truth", "truth.nii.gz"),
        ("reconstruct", "s.h5", *fast, "-o", "v.nii.gz", "--save-steps", 1),
        ("reconstruct", "s.h5", *fast, "-o", "plain"),
        ("evaluate", "v.nii.gz", series, "--json"),
        ("report", "v.nii.gz", "--truth", "truth.nii.gz", "-o", "r.html"),
    ]
    said = ""
    for words in lines:
        ended = command(*words)
        assert ended.code == 0, ended.err
        said += ended.out + ended.err
    said += caplog.text
    told = {
        "said": said.encode(),
        **{str(p): p.name.encode() + raw for p, raw in contents(place).items()},
    }
    assert [name for name, raw in told.items() if any(secret in raw for secret in SECRETS)] == []
    assert command("reconstruct", "s.h5", *fast, "--like", series, "-o", "derived").code == 0
    derived = [pydicom.dcmread(path) for path in (place / "derived").iterdir()]
    assert {str(one.PatientName) for one in derived} == {NAME}


def test_the_series_of_another_patient_in_the_same_place_is_told(series, data, place, caplog):
    other = place / "other"
    write_volume(read_volume(data.volume), other)
    assert command("simulate", series, "-o", place / "s.h5").code == 0
    assert command("simulate", data.volume, "-o", place / "nifti.h5").code == 0
    told = []
    for scan, like in (("s", series), ("s", other), ("nifti", other)):
        caplog.clear()
        ended = command(
            *("reconstruct", place / f"{scan}.h5", "--method", "fbp"),
            *("--like", like, "-o", place / f"{scan}-{like.name}"),
        )
        assert ended.code == 0, ended.err
        told.append([m for m in caplog.messages if "of the same patient" in m])
    same, another, unknown = told
    assert same == unknown == []
    assert another == [
        f"--like {other}: differs from series, which the scan was made from; make sure that both "
        "are of the same patient"
    ]


def test_what_lies_beside_a_series_is_told_once_however_often_it_is_read(series, place):
    """`--like` reads it before the work and behind it."""
    other = pydicom.dcmread(next(series.iterdir()))
    other.SeriesInstanceUID, other.Modality = "1.2.826.0.1.3680043.8.498.9", "PT"
    other.save_as(series / "other.dcm")
    lines = (
        ("simulate", series, "-o", place / "s.h5"),
        ("reconstruct", place / "s.h5", "--method", "fbp", "--like", series, "-o", place / "d"),
    )
    for words in lines:
        ended = user_command(*words)
        assert ended.code == 0, ended.err
        assert ended.err.count("holds another series") == 1
