"""The numbers that pages show of the demonstration are those of docs/demo.json."""

import json

import pytest

from support.documents import ROOT, text_of
from support.studies import study


@pytest.fixture(scope="module")
def front():
    module = study("front")
    if not module.FIGURES.exists():
        pytest.skip("docs/demo.json is not there; `python studies/front.py run` makes it")
    return module


def test_pages_have_the_numbers_of_the_file(front):
    assert "README.md" in front.PAGES
    for page in front.PAGES:
        text = text_of(page)
        assert "<!-- demo: " in text
        assert front.with_figures(text) == text, "run `python studies/front.py pages`"


def test_the_numbers_are_of_the_prior_that_is_shipped(front):
    facts = json.loads(front.FIGURES.read_text(encoding="utf-8"))
    config = ROOT / "src/diffusionblend/priors/chest/config.json"
    shipped = json.loads(config.read_text(encoding="utf-8"))["weights_sha256"]
    assert facts["prior"] == shipped, "run `python studies/front.py run`"
    methods = facts["methods"]
    assert set(methods) == set(front.METHODS)
    assert all(set(each) == {str(views) for views in front.VIEWS} for each in methods.values())


def test_a_changed_number_changes_the_page(front, monkeypatch, tmp_path):
    facts = json.loads(front.FIGURES.read_text(encoding="utf-8"))
    facts["methods"]["tv"]["20"]["volume"]["psnr"] = 12.344
    other = tmp_path / "demo.json"
    other.write_text(json.dumps(facts), encoding="utf-8")
    monkeypatch.setattr(front, "FIGURES", other)
    assert "12.34 (axial" in front.with_figures(text_of("README.md"))
