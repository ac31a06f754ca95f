"""Mutants: do the tests notice a changed sign, bound or number in the mathematics?

    python studies/mutants.py map       which test calls which function, and how long it takes
    python studies/mutants.py run 400   a sample of mutants; stopped, it goes on when called again

A mutant is one change of one expression in `FOLDERS`. The tests that call the function in which it
stands are run on it, the fastest first, until one fails. The sources are not touched. First all
tests are imported once, and each mutant is a fork of that, in which the function is exchanged.
What no fast test notices, and what runs at import, is then tried in a process of its own, which
changes the module when it imports it. What no test notices there either is printed, and
docs/mutants.md says why it may be so.
"""

import ast
import functools
import gc
import importlib.machinery
import inspect
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import CodeType, FunctionType

import pytest
import scipy.ndimage
import torch
from hypothesis import settings

LOADED = scipy.ndimage, torch  # once, for all mutants
ROOT = Path(__file__).parents[1]
PACKAGE, OUT = ROOT / "src/diffusionblend", ROOT / "out/mutants"
FOLDERS = ("methods", "sampling", "solvers", "geometry")
TESTS = ("methods", "sampling", "geometry", "projectors", "data", "simulation", "io/projections")
QUICK_S, LIMIT_S, SEED = 10.0, 60.0, 16
CASES, WORKERS = 4, 2  # cases of one test that are enough
OPTIONS = ["-p", "no:cacheprovider", "-p", "no:benchmark", f"--rootdir={ROOT}"]
OPTIONS += ["-o", "tmp_path_retention_policy=none", "-Wignore::pytest.PytestAssertRewriteWarning"]
OTHER = {
    "Add": "Sub", "Sub": "Add", "Mult": "Div", "Div": "Mult", "FloorDiv": "Mult", "Mod": "Mult",
    "Pow": "Mult", "BitAnd": "BitOr", "Lt": "LtE", "LtE": "Lt", "Gt": "GtE", "GtE": "Gt",
    "Eq": "NotEq", "NotEq": "Eq", "Is": "IsNot", "IsNot": "Is", "In": "NotIn", "NotIn": "In",
    "And": "Or", "Or": "And", "USub": "UAdd", "min": "max", "max": "min", "floor": "ceil",
    "ceil": "floor", "sin": "cos", "cos": "sin",
}  # fmt: skip
settings.register_profile("mutants", deadline=None, derandomize=True, database=None)
settings.load_profile("mutants")  # a busy machine is no mutant
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
        self.tests, self.failed, self.calls = {}, set(), set()

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

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self):
        passed = {test: told for test, told in self.tests.items() if test not in self.failed}
        earlier = json.loads((OUT / "map.json").read_text()) if (OUT / "map.json").exists() else {}
        (OUT / "map.json").write_text(json.dumps(earlier | passed))


class Chosen:
    """A plugin of pytest that runs some tests, in their order, and notes which fails."""

    def __init__(self, tests):
        self.tests, self.by = tests, None

    def pytest_collection_modifyitems(self, items):
        met = {item.nodeid: item for item in items}
        items[:] = [met[test] for test in self.tests if test in met]

    def pytest_runtest_logreport(self, report):
        self.by = report.nodeid if report.failed else self.by


class Bench:
    """A plugin of pytest that tries mutants instead of running tests, in some processes."""

    def __init__(self, todo, known, end):
        self.todo, self.known, self.end = todo, known, end

    def pytest_runtestloop(self, session):
        session.config._tmp_path_factory.getbasetemp()  # one for all
        self.items = {item.nodeid: item for item in session.items}
        self.live, self.caches = package_functions()
        gc.freeze()  # so that forks share memory
        beside_each_other(lambda m: self.attempt(*m), self.todo, self.end)
        return True

    def attempt(self, n, path, index):
        """Try one mutant on fast tests, if its function can be exchanged."""
        code, told = mutant(path, index)
        tests = tests_of(told, self.known, QUICK_S)
        changed = exchanged(path, code, self.live)
        items = [self.items[test] for test in tests if test in self.items]
        by = ""
        if changed and items:
            by = forked(lambda: first_that_fails(changed, self.caches, items), 3 * QUICK_S)
        write(told | {"n": n, "tests": len(tests), "by": by})


def tests_of(told, known, limit):
    """Return the tests that call a function, or for no function its file, for a time at most."""
    file, found, spent, cases = told["at"].rpartition(":")[0], [], 0.0, Counter()
    for test, (seconds, calls) in sorted(known.items(), key=lambda t: t[1][0]):
        met = any(c[0] == file and told["function"] in (0, c[1]) for c in calls)
        cases[name := test.partition("[")[0]] += met
        if met and cases[name] <= CASES and (spent := spent + seconds) < limit:
            found.append(test)
    return found


def bodies(code):
    """Return the functions within a module or class, by name and line, and all else there is."""
    inner = [c for c in code.co_consts if isinstance(c, CodeType)]
    found, rest = {}, [code.replace(co_consts=tuple(c for c in code.co_consts if c not in inner))]
    for part in inner:
        if part.co_flags & inspect.CO_OPTIMIZED:
            found[part.co_qualname, part.co_firstlineno] = part
        else:
            more, others = bodies(part)
            found, rest = found | more, rest + others
    return found, rest


def package_functions():
    """Return the functions of the package in this process, and the caches of some of them."""
    known = gc.get_objects()
    functions = [f for f in known if type(f) is FunctionType]
    caches = [c for c in known if type(c) is functools._lru_cache_wrapper]
    return (
        [f for f in functions if f.__code__.co_filename.startswith(str(PACKAGE))],
        [c for c in caches if str(c.__module__).startswith(PACKAGE.name)],
    )


def exchanged(path, code, live):
    """Return the functions of this process that a mutant changes, with their new code, or none."""
    found, rest = bodies(code)
    before, same = bodies(compile(path.read_text("utf-8"), str(path), "exec"))
    if rest != same or found.keys() != before.keys():
        return []  # what runs at import
    new = {key: body for key, body in found.items() if body != before[key]}
    here = [f for f in live if f.__code__.co_filename == str(path)]
    pairs = [(f, new.get((f.__code__.co_qualname, f.__code__.co_firstlineno))) for f in here]
    pairs = [(f, body) for f, body in pairs if body]
    fit = all(f.__code__.co_freevars == body.co_freevars for f, body in pairs)
    return pairs if fit else []


def beside_each_other(attempt, todo, end):
    """Try mutants in some processes, until a time."""
    for worker in range(WORKERS):
        if os.fork() == 0:
            try:
                for of_mutant in todo[worker::WORKERS]:
                    if time.monotonic() < end:
                        attempt(of_mutant)
            finally:
                os._exit(0)
    for _ in range(WORKERS):
        os.wait()


def forked(first, limit):
    """Return which test fails first, from another process; nothing after a time."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1), os.dup2(quiet, 2), os.setpgid(0, 0)
        try:
            os.write(writer, first().encode())
        finally:
            os._exit(0)
    os.close(writer)
    status = ended(child, limit)
    with os.fdopen(reader) as pipe:
        by = pipe.read()
    slow = status == -signal.SIGKILL  # which a busy machine may be, too
    return by or (f"exit status {status}" if status and not slow else "")


def first_that_fails(changed, caches, items):
    """Change functions in this process, and return the first of some tests that fails.

    None if that started processes, in which nothing is changed: they differ from this one.
    """
    for function, body in changed:
        function.__code__ = body
    for cache in caches:
        cache.cache_clear()
    for item, after in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
        if item.session.testsfailed:
            return "" if sum(os.times()[2:4]) else item.nodeid
    return ""


def ended(child, limit):
    """Return the exit status of a process, which is stopped after a time."""
    end = time.monotonic() + limit
    while (known := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.02)
    return os.waitstatus_to_exitcode(known[1])


def write(told):
    """Add a line to the results."""
    with (OUT / "results.jsonl").open("a") as file:
        file.write(json.dumps(told) + "\n")


def results():
    """Return the last line of each mutant, by its number in the sample."""
    file = OUT / "results.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return {told["n"]: told for told in map(json.loads, lines)}


def first_of_all(path, code, tests):
    """Return the first test that fails with a changed module, which is imported here."""
    plain = importlib.machinery.SourceFileLoader
    get_code = plain.get_code
    plain.get_code = lambda s, name: code if s.path == str(path) else get_code(s, name)
    chosen, files = Chosen(tests), sorted({test.partition("::")[0] for test in tests})
    status = pytest.main(["-x", "-q", *OPTIONS, *files], [chosen])
    return chosen.by or (f"exit status {int(status)}" if status not in {0, 5} else "")


def settle(n, path, index, known):
    """Try a mutant on more tests, in a process that imports it."""
    code, told = mutant(path, index)
    tests = tests_of(told, known, LIMIT_S)
    by = forked(lambda: first_of_all(path, code, tests), 3 * LIMIT_S) if tests else ""
    write(told | {"n": n, "tests": len(tests), "by": by, "settled": True})


def sample(number):
    """Return a sample of mutants as number, file and place in it, and how many there are."""
    files = sorted(path for folder in FOLDERS for path in (PACKAGE / folder).rglob("*.py"))
    trees = [(path, list(places(ast.parse(path.read_text("utf-8"))))) for path in files]
    whole = [(path, i) for path, nodes in trees for i, (n, _) in enumerate(nodes) if change(n)]
    drawn = random.Random(SEED).sample(whole, len(whole))[:number]
    return [(n, path, index) for n, (path, index) in enumerate(drawn)], len(whole)


def run(number, minutes):
    """Run a sample of mutants for some minutes, and write down which are noticed."""
    end, known = time.monotonic() + 60 * minutes, json.loads((OUT / "map.json").read_text())
    drawn, whole = sample(number)
    todo = [m for m in drawn if m[0] not in results()]
    if todo and (child := os.fork()) == 0:  # so that nothing of the package is imported here
        pytest.main([*OPTIONS, *(f"tests/{t}" for t in TESTS)], [Bench(todo, known, end)])
        os._exit(0)
    elif todo:
        os.waitpid(child, 0)
    told = results()
    doubtful = [m for m in drawn if m[0] in told]
    doubtful = [m for m in doubtful if not told[m[0]]["by"] and "settled" not in told[m[0]]]
    beside_each_other(lambda m: settle(*m, known), doubtful, end)
    found = [told for n, told in sorted(results().items()) if n < number]
    for told in (told for told in found if not told["by"]):
        print(f"{told['n']}  {told['at']}  {told['before']}  ->  {told['after']}")
    print(f"{sum(bool(t['by']) for t in found)} of {len(found)} noticed, {whole} in all")


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    os.chdir(ROOT)
    if sys.argv[1] == "map":
        pytest.main([*OPTIONS, *(f"tests/{t}" for t in sys.argv[2:] or TESTS)], [Watch()])
    else:
        run(int(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 1e9)
