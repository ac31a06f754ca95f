"""The tests lie as the package does, and what they share is in `support`, never in another test."""

import ast
import re

from support.documents import ROOT

TESTS, PACKAGE = ROOT / "tests", ROOT / "src/diffusionblend"
MOST_LINES = 50
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


def bodies(tree):
    """Yield the name of each function, and the lines of it below its signature and docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[min(bool(ast.get_docstring(node)), len(node.body) - 1)]
            yield node.name, node.end_lineno - first.lineno + 1


def test_no_function_is_longer_than_a_screen():
    for path in PACKAGE.rglob("*.py"):
        for name, lines in bodies(ast.parse(path.read_text(encoding="utf-8"))):
            assert lines <= MOST_LINES, (path, name)
