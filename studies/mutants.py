"""Mutants: do the tests notice a changed sign, bound or number in the mathematics?

    python studies/mutants.py map       which test calls which function, and how long it takes
    python studies/mutants.py run 400   a sample of mutants; stopped, it goes on when called again

A mutant is one change of one expression in `FOLDERS`. The tests that call the function in which it
stands are run on it, the fastest first, until one fails. The sources are not touched: each mutant
is a process of its own, which changes the module when it imports it. What no test notices is
printed, and docs/mutants.md says why it may be so.
"""

import ast
import importlib.machinery
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import scipy.ndimage
import torch

LOADED = scipy.ndimage, torch  # once, for all mutants
ROOT = Path(__file__).parents[1]
PACKAGE, OUT = ROOT / "src/diffusionblend", ROOT / "out/mutants"
FOLDERS = ("methods", "sampling", "solvers", "geometry")
TESTS = ("methods", "sampling", "geometry", "projectors", "data", "simulation", "io/projections")
LIMIT_S, SEED = 60.0, 16
CASES, FEW = 8, 10  # cases of one test that are enough; tests that are tried before the others
OPTIONS = ["-p", "no:cacheprovider", "-p", "no:benchmark", f"--rootdir={ROOT}"]
OTHER = {
    "Add": "Sub", "Sub": "Add", "Mult": "Div", "Div": "Mult", "FloorDiv": "Mult", "Mod": "Mult",
    "Pow": "Mult", "BitAnd": "BitOr", "Lt": "LtE", "LtE": "Lt", "Gt": "GtE", "GtE": "Gt",
    "Eq": "NotEq", "NotEq": "Eq", "Is": "IsNot", "IsNot": "Is", "In": "NotIn", "NotIn": "In",
    "And": "Or", "Or": "And", "USub": "UAdd", "min": "max", "max": "min", "floor": "ceil",
    "ceil": "floor", "sin": "cos", "cos": "sin",
}  # fmt: skip
IDLE = {"annotation", "returns", "decorator_list", "bases", "exc"}
"""Fields of a syntax tree in which nothing is computed, or only a message."""


def change(node):
    """Change a node of a syntax tree in place; say whether there was anything to change."""
    for name in ("op", "attr", "id"):
        what = getattr(node, name, None)
        known = what if isinstance(what, str) else type(what).__name__
        if known in OTHER and not (name == "id" and len(known) > 3):
            setattr(node, name, OTHER[known] if known is what else getattr(ast, OTHER[known])())
            return True
    if isinstance(node, ast.Compare):
        node.ops[0] = getattr(ast, OTHER[type(node.ops[0]).__name__])()
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        node.operand = ast.UnaryOp(ast.Not(), node.operand)
    elif isinstance(node, ast.Constant) and isinstance(value := node.value, int | float):
        node.value = not value if isinstance(value, bool) else value + (value or 1)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        node.value = ast.Constant(None)
    else:
        return False
    return True


def places(node, function=0):
    """Yield each node of a tree with the first line of the function in which it stands."""
    if isinstance(node, ast.FunctionDef):
        function = min(n.lineno for n in (node, *node.decorator_list))
    yield node, function
    for name, value in ast.iter_fields(node) if not isinstance(node, ast.JoinedStr) else ():
        for child in value if isinstance(value, list) else [value]:
            if name not in IDLE and isinstance(child, ast.AST):
                yield from places(child, function)


def mutant(path, index):
    """Return a module with its place `index` changed, compiled, and what is known of it."""
    tree = ast.parse(path.read_text("utf-8"))
    node, function = list(places(tree))[index]
    before = ast.unparse(node)
    change(node)
    at, after = f"{path.relative_to(PACKAGE)}:{node.lineno}", ast.unparse(node)
    code = compile(ast.fix_missing_locations(tree), str(path), "exec")
    return code, {"at": at, "function": function, "before": before, "after": after}


class Watch:
    """A plugin of pytest that notes which functions each test calls, and how long it takes."""

    def __init__(self):
        self.tests, self.calls = {}, set()

    def note(self, frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(str(PACKAGE)):
            file = frame.f_code.co_filename[len(str(PACKAGE)) + 1 :]
            self.calls.add((file, frame.f_code.co_firstlineno))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self.calls, begin = set(), time.monotonic()
        sys.setprofile(self.note)
        result = yield
        sys.setprofile(None)
        calls = sorted(c for c in self.calls if c[0].startswith(FOLDERS))
        self.tests[item.nodeid] = time.monotonic() - begin, calls
        return result

    def pytest_sessionfinish(self):
        earlier = json.loads((OUT / "map.json").read_text()) if (OUT / "map.json").exists() else {}
        (OUT / "map.json").write_text(json.dumps(earlier | self.tests))


def tests_of(at, function, known):
    """Return the tests that call a function, or for no function its file, for `LIMIT_S` at most."""
    file, found, spent, cases = at.rpartition(":")[0], [], 0.0, Counter()
    for test, (seconds, calls) in sorted(known.items(), key=lambda t: t[1][0]):
        met = any(c[0] == file and function in (0, c[1]) for c in calls)
        cases[name := test.partition("[")[0]] += met
        if met and cases[name] <= CASES and (spent := spent + seconds) < LIMIT_S:
            found.append(test)
    return found


def notices(path, code, tests):
    """Return the exit status of tests on a changed module, in another process."""
    if (child := os.fork()) == 0:
        quiet, plain = os.open(os.devnull, os.O_WRONLY), importlib.machinery.SourceFileLoader
        get_code = plain.get_code
        plain.get_code = lambda s, name: code if s.path == str(path) else get_code(s, name)
        os.dup2(quiet, 1), os.dup2(quiet, 2), os.setpgid(0, 0)
        os._exit(pytest.main(["-x", "-q", *OPTIONS, *tests]))
    end = time.monotonic() + 3 * LIMIT_S
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.02)
    return os.waitstatus_to_exitcode(ended[1])


def run(number, minutes):
    """Run a sample of mutants for some minutes, and write down which are noticed."""
    files = sorted(path for folder in FOLDERS for path in (PACKAGE / folder).rglob("*.py"))
    trees = [(path, list(places(ast.parse(path.read_text("utf-8"))))) for path in files]
    whole = [(path, i) for path, nodes in trees for i, (n, _) in enumerate(nodes) if change(n)]
    known, results = json.loads((OUT / "map.json").read_text()), OUT / "results.jsonl"
    done = len(results.read_text().splitlines()) if results.exists() else 0
    end = time.monotonic() + 60 * minutes
    for path, index in random.Random(SEED).sample(whole, min(number, len(whole)))[done:]:
        if time.monotonic() > end:
            sys.exit(3)  # there are more
        code, told = mutant(path, index)
        tests, begin = tests_of(told["at"], told["function"], known), time.monotonic()
        few, others = tests[:FEW], tests[FEW:]
        status = (few and notices(path, code, few)) or (others and notices(path, code, others)) or 0
        told |= {"tests": len(tests), "status": status, "s": round(time.monotonic() - begin, 1)}
        with results.open("a") as file:
            file.write(json.dumps(told) + "\n")
    noticed = [json.loads(line) for line in results.read_text().splitlines()]
    for told in (told for told in noticed if told["status"] == 0):
        print(f"{told['at']}  {told['before']}  ->  {told['after']}")
    print(
        f"{sum(t['status'] != 0 for t in noticed)} of {len(noticed)} noticed, {len(whole)} in all"
    )


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    os.chdir(ROOT)
    if sys.argv[1] == "map":
        pytest.main([*OPTIONS, *(f"tests/{t}" for t in sys.argv[2:] or TESTS)], [Watch()])
    else:
        run(int(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 1e9)
