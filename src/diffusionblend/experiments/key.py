"""The key of a run: the hash of what decides its numbers, and of nothing else.

Of the sources, it covers the files that a run imports, one after another, without comments,
docstrings, and the words of errors and of the log. What only shows or stores numbers is left out,
so that a page may change without losing runs. Processor and number of threads are left out, too:
they change the last digits of a sum, and no figure of a table.
"""

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from diffusionblend.experiments.recipe import Value
from diffusionblend.methods import find_method

LIBRARIES = ("numpy", "scipy", "torch")
_OURS = "diffusionblend"
_MEASURE = "diffusionblend.experiments.measure"
_LISTS = (_OURS, f"{_OURS}.methods")
"""Packages whose `__init__` only lists names: what a run takes from them, it takes by name."""
_NO_NUMBERS = (
    "cli", "experiments.cost", "experiments.store", "pictures", "progress", "quality", "show",
)  # fmt: skip
"""Parts of this package that show or store numbers, and decide none."""


class Inputs(msgspec.Struct, frozen=True):
    """What decides the numbers of a run.

    Attributes:
        volume: SHA-256 of the volume's file.
        slices: First slice, and the one after the last.
        size: Pixels a side.
        views, limited_angle, photons, protocol: The acquisition.
        weights, config: SHA-256 of the weights and of the configuration of the network, if the
            method has one.
        device: `cpu` or `cuda`.
        code: SHA-256 of the sources that compute.
        libraries: Versions of the libraries that compute.
    """

    volume: str
    slices: tuple[int, int]
    size: int
    views: int | None
    limited_angle: int | None
    photons: float | None
    protocol: str
    method: str
    options: dict[str, Value | None]
    seed: int
    weights: str | None
    config: str | None
    device: str
    code: str
    libraries: dict[str, str]

    @property
    def key(self) -> str:
        """SHA-256 of the canonical JSON."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of the libraries that compute."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


@functools.cache
def code_digest(method: str) -> str:
    """Return the SHA-256 of the sources that compute when a method is measured."""
    found = sources(_MEASURE, find_method(method).__module__)
    lines = [f"{name} {source_digest(found[name])}\n" for name in sorted(found)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def sources(*modules: str) -> dict[str, str]:
    """Return the sources of modules and of all that they import of their own packages, by name."""
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = None if name in found or _decides_nothing(name) else _file(name)
        if path is not None:
            found[name] = path.read_text(encoding="utf-8")
            waiting += _imported(name, found[name])
    return found


@functools.cache
def source_digest(text: str) -> str:
    """Return the SHA-256 of what Python source computes: of its syntax tree without its words."""
    return hashlib.sha256(ast.dump(_Wordless().visit(ast.parse(text))).encode()).hexdigest()


class _Wordless(ast.NodeTransformer):
    """Leaves out what is only said: docstrings, the words of errors, and the log."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        """Leave out a string alone, a docstring of an attribute too, and a call of `log`."""
        match node.value:
            case ast.Constant(value=str()) | ast.Call(ast.Attribute(ast.Name("log"))):
                return None
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.Raise:
        """Keep the class of an error, by which it is caught."""
        raised = node.exc
        return ast.Raise(raised.func if isinstance(raised, ast.Call) else raised)


def _decides_nothing(name: str) -> bool:
    parts = (f"{_OURS}.{part}." for part in _NO_NUMBERS)
    return name in _LISTS or f"{name}.".startswith(tuple(parts))


def _file(name: str) -> Path | None:
    """Return the file of a module whose package is imported; None if it has none."""
    first, *parts = name.split(".")
    package = sys.modules.get(first)
    for folder in getattr(package, "__path__", ()):
        place = Path(folder, *parts)
        for path in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if path.is_file():
                return path
    file = None if parts else getattr(package, "__file__", None)  # a module by itself, a program
    return Path(file) if file else None


@functools.cache
def _imported(name: str, text: str) -> tuple[str, ...]:
    return tuple(_imports(name, ast.parse(text)))


def _imports(name: str, node: ast.AST) -> Iterator[str]:
    """Yield the modules of this package and its own that a module imports when it runs."""
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        return
    if isinstance(node, ast.Import):
        found = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        found = [_home(_absolute(name, node), alias.name) for alias in node.names]
    else:
        found = []
    yield from (
        module
        for module in found
        if module.split(".")[0] in (_OURS, name.split(".", maxsplit=1)[0])
    )
    for child in ast.iter_child_nodes(node):
        yield from _imports(name, child)


def _absolute(name: str, node: ast.ImportFrom) -> str:
    """Return the module of a `from ... import`, written with its dots or without."""
    path = _file(name)
    package = name if path and path.stem == "__init__" else name.rpartition(".")[0]
    return importlib.util.resolve_name("." * node.level + (node.module or ""), package)


def _home(module: str, name: str) -> str:
    """Return the module that a name in a module comes from."""
    path = _file(module)
    if path is None or _file(f"{module}.{name}"):
        return f"{module}.{name}"
    if module in _LISTS:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
                return _absolute(module, node)
    return module
