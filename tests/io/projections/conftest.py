"""Hundreds of small HDF5 files are read here: nobody walks through them first (`test_walked`)."""

import pytest


@pytest.fixture(autouse=True)
def nobody_walks(monkeypatch):
    monkeypatch.setattr("diffusionblend.io.projections.formats.walked._walk", lambda *_: None)
