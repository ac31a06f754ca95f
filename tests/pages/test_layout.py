"""The tests lie as the package does, and what they share is in `support`, never in another test."""

import re

from support.documents import ROOT

TESTS, PACKAGE = ROOT / "tests", ROOT / "src/diffusionblend"
OTHERS = {"golden", "pages", "studies", "support"}
"""What is not of a part of the package: documents, programs beside it, what tests share."""


def test_folders_are_those_of_the_package():
    for folder in (path for path in TESTS.rglob("*") if path.is_dir()):
        place = folder.relative_to(TESTS)
        if place.parts[0] not in OTHERS and "__pycache__" not in place.parts:
            assert (PACKAGE / place).is_dir(), place


def test_no_test_imports_another():
    for path in TESTS.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(from|import) (test_|conftest)", text, re.M), path
