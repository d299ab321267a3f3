"""Mutation run over the core: changes the code in sampled places, one at a time, and checks that a unit test fails.

`make mutants` samples 100 changes with a fixed seed and runs the tests that cover the changed line, the quickest first, until
one fails, two changes at a time. It writes the score into docs/internals.md. Tests in tests/e2e are not run.
"""

from __future__ import annotations

import argparse
import ast
import copy
import datetime
import faulthandler
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

import pytest

ROOT = Path(__file__).parent.parent
#: What is changed, below src/byway.
CORE = ("pipeline", "messages", "backends", "routing", "upstream", "access", "config/file.py")
#: Tests that are not run: they measure CPU time, which a change of behaviour rarely alters, or read the source.
LEFT_OUT = (
    "test_growth.py",
    "test_reader_growth.py",
    "test_backend_growth.py",
    "test_growth_helper.py",
    "test_house.py",
)
#: A change that makes one test run longer than this counts as noticed: it ends no more.
SECONDS = 90
#: CPU seconds of the tests that are run for one change, measured with coverage.
BUDGET = 60
SCORE = re.compile(r"<!-- mutation score -->.*?<!-- end -->", re.DOTALL)

# ------------------------------------------------------------------------------------------------------------- changes

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


def replacements(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """(description, new node) of each change to `node`."""
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in _COMPARISONS:
            changed = copy.deepcopy(node)
            changed.ops = [_COMPARISONS[type(operator)]()]
            yield "comparison", changed
        case ast.BoolOp():
            changed_bool = copy.deepcopy(node)
            changed_bool.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield "and / or", changed_bool
        case ast.UnaryOp(op=ast.Not()):
            yield "not removed", node.operand
        case ast.BinOp(op=operator) if type(operator) in _OPERATORS and not _is_text(node):
            changed_binary = copy.deepcopy(node)
            changed_binary.op = _OPERATORS[type(operator)]()
            yield "operator", changed_binary
        case ast.Constant(value=bool(value)):
            yield "constant", ast.Constant(not value)
        case ast.Constant(value=int(value)) if value in (0, 1, 2):
            yield "constant", ast.Constant(value + 1)
        case ast.If() | ast.While() | ast.IfExp():
            if not isinstance(node.test, ast.Compare | ast.Constant):
                negated = copy.deepcopy(node)
                negated.test = ast.UnaryOp(ast.Not(), negated.test)
                yield "condition", negated
        # `return False` for `return None` is no change to a caller that tests the truth; another change makes it True.
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and not value.value):
            yield "return None", ast.Return(ast.Constant(None))
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.AugAssign() | ast.Raise():
            yield "statement removed", ast.Pass()
        case ast.Break():
            yield "break / continue", ast.Continue()
        case ast.Continue():
            yield "break / continue", ast.Break()


def _is_text(node: ast.BinOp) -> bool:
    """Whether an operand is certainly text or a type, where the changed operator would only raise or mean nothing."""
    return any(
        isinstance(side, ast.JoinedStr) or (isinstance(side, ast.Constant) and isinstance(side.value, str | bytes))
        for side in (node.left, node.right)
    )


@dataclass(frozen=True)
class Mutant:
    path: str
    """Below the repository."""
    number: int
    """The how-manyth change of the file."""
    line: int
    statement: int
    """The first line of its statement."""
    change: str
    before: str
    after: str


_Change = tuple[ast.AST, str, int | None, ast.AST, str, ast.AST, int]


def _changes(module: ast.Module) -> Iterator[_Change]:
    """(parent, field, index, node, description, new node, line of the statement) of each change inside a function."""

    def visit(node: ast.AST, inside: bool, statement: int) -> Iterator[_Change]:
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(node, ast.stmt):
            statement = node.lineno
        for field, value in ast.iter_fields(node):
            # Annotations, decorators and defaults are no behaviour of the function's body.
            if function and field in ("args", "decorator_list", "returns"):
                continue
            if field == "annotation" or (isinstance(node, ast.match_case) and field == "pattern"):
                continue
            for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(child, ast.AST):
                    if inside or function:
                        line = child.lineno if isinstance(child, ast.stmt) else statement
                        for description, new in replacements(child):
                            yield node, field, index, child, description, new, line
                    yield from visit(child, inside or function, statement)

    yield from visit(module, False, 0)


def mutants(path: Path) -> list[Mutant]:
    """Every change that can be made to a file."""
    where = path.relative_to(ROOT).as_posix()
    changes = _changes(ast.parse(path.read_text("utf-8")))
    return [
        Mutant(where, number, getattr(node, "lineno", 0), statement, description, _first_line(node), _first_line(new))
        for number, (_, _, _, node, description, new, statement) in enumerate(changes)
    ]


def _first_line(node: ast.AST) -> str:
    return ast.unparse(ast.fix_missing_locations(node)).partition("\n")[0][:100]


def mutated(text: str, number: int) -> str:
    """The source `text` with change `number` made."""
    module = ast.parse(text)
    for at, (parent, field, index, _, _, new, _) in enumerate(_changes(module)):
        if at == number:
            if index is None:
                setattr(parent, field, new)
            else:
                getattr(parent, field)[index] = new
            return ast.unparse(ast.fix_missing_locations(module))
    raise IndexError(number)


# ------------------------------------------------------------------------------------------------- in the pytest processes


class Recorder:
    """Records which test runs which line (the coverage context is the test's id), the CPU seconds of each, and which fail."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        import coverage

        current = coverage.Coverage.current()
        if current is not None:
            current.switch_context(item.nodeid)
        start = time.process_time()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.process_time() - start

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self.file.write_text(json.dumps({"seconds": self.seconds, "failed": sorted(self.failed)}))


class Selection:
    """Runs only the given tests, in their order. A test that takes longer than `SECONDS` ends the process."""

    def __init__(self, tests: list[str]) -> None:
        self.rank = {test: number for number, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted((item for item in items if item.nodeid in self.rank), key=lambda item: self.rank[item.nodeid])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            return (yield)
        finally:
            faulthandler.cancel_dump_traceback_later()


def pytest_configure(config: pytest.Config) -> None:
    """Called when pytest loads this file with `-p mutants`."""
    if record := os.environ.get("BYWAY_TEST_RECORD"):
        config.pluginmanager.register(Recorder(Path(record)))
    if select := os.environ.get("BYWAY_TEST_SELECT"):
        config.pluginmanager.register(Selection(json.loads(Path(select).read_text())))


def _pytest(root: Path, arguments: Iterable[str | Path], **environ: str) -> list[str]:
    """Run pytest in `root` and return the lines of its output; the last one is the exit code."""
    path = os.pathsep.join((str(root / "src"), str(root / "tests")))
    command = [sys.executable, *arguments, "-p", "mutants", "-p", "no:cacheprovider", "-q", "--no-header", "--tb=line"]
    done = subprocess.run(
        command,
        cwd=root,
        env={**os.environ, "PYTHONPATH": path, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    return [*done.stdout.splitlines(), *done.stderr.splitlines()[-20:], str(done.returncode)]


# ------------------------------------------------------------------------------------------------------------ coverage


def record_coverage(folder: Path, jobs: int) -> None:
    """Run the unit tests once, in `jobs` processes: coverage and results go to `folder`."""
    files = sorted(path for path in (ROOT / "tests").glob("test_*.py") if path.name not in LEFT_OUT)
    # Large files first, so that each process gets about the same.
    files.sort(key=lambda path: path.stat().st_size, reverse=True)
    include = ",".join(str(ROOT / "src/byway" / name) + ("" if name.endswith(".py") else "/*") for name in CORE)

    def run(number: int) -> None:
        rc = folder / f"coveragerc{number}"
        rc.write_text(f"[run]\ninclude = {include}\ndata_file = {folder / f'data{number}'}\n")
        output = _pytest(
            ROOT,
            ["-m", "coverage", "run", f"--rcfile={rc}", "-m", "pytest", *files[number::jobs]],
            BYWAY_TEST_RECORD=str(folder / f"tests{number}.json"),
        )
        if output[-1] not in ("0", "1"):
            raise SystemExit("the unit tests did not run:\n" + "\n".join(output[-30:]))

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(run, range(jobs)))


def covering(folder: Path) -> tuple[dict[str, dict[int, list[str]]], dict[str, float]]:
    """For each file the tests that run a line, the quickest first; and the CPU seconds of each test.

    A line that runs when its module is imported has the tests of the whole file. Tests that fail without a change are left out.
    """
    import coverage

    seconds: dict[str, float] = {}
    failed: set[str] = set()
    for path in folder.glob("tests*.json"):
        results = json.loads(path.read_text())
        seconds.update(results["seconds"])
        failed.update(results["failed"])
    tests: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for path in folder.glob("data*"):
        data = coverage.CoverageData(str(path))
        data.read()
        for name in data.measured_files():
            for line, contexts in data.contexts_by_lineno(name).items():
                tests[Path(name).relative_to(ROOT).as_posix()][line].update(contexts)
    ordered: dict[str, dict[int, list[str]]] = {}
    for name, lines in tests.items():
        whole = set().union(*lines.values())
        ordered[name] = {
            line: sorted((contexts - {""} or whole) & seconds.keys() - failed, key=lambda test: seconds[test])
            for line, contexts in lines.items()
        }
    return ordered, seconds


# ----------------------------------------------------------------------------------------------------------------- run


def affordable(tests: list[str], seconds: dict[str, float]) -> list[str]:
    """The first of `tests`, which take `BUDGET` CPU seconds together."""
    chosen: list[str] = []
    total = 0.0
    for test in tests:
        total += seconds[test]
        if chosen and total > BUDGET:
            break
        chosen.append(test)
    return chosen


def noticed_by(mutant: Mutant, tests: list[str], root: Path) -> str:
    """The result of `mutant` in the copy `root`: the test that fails, `timeout`, or "" when all pass."""
    file, selected = root / mutant.path, root / "selected.json"
    original = file.read_text("utf-8")
    selected.write_text(json.dumps(tests))
    files = sorted({test.partition("::")[0] for test in tests})
    try:
        _write(file, mutated(original, mutant.number))
        output = _pytest(root, ["-m", "pytest", "-x", *files], BYWAY_TEST_SELECT=str(selected))
    finally:
        _write(file, original)
    if output[-1] in ("0", str(int(pytest.ExitCode.NO_TESTS_COLLECTED))):
        return ""
    if any(line.startswith("Timeout (") for line in output):
        return "timeout"
    failed = [line.split()[1] for line in output if line.startswith(("FAILED ", "ERROR "))]
    return failed[0] if failed else f"exit code {output[-1]}: {output[-2] if len(output) > 1 else ''}"


def _write(file: Path, text: str) -> None:
    """Write a source file and remove its byte code, which could be taken for that of a text of the same second and size."""
    file.write_text(text, "utf-8")
    for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
        compiled.unlink()


def copies(folder: Path, count: int) -> Queue[Path]:
    """`count` copies of the repository that can be changed."""
    roots: Queue[Path] = Queue()
    for number in range(count):
        root = folder / f"copy{number}"
        for name in ("src", "tests", "bench", "docs", "requirements", "examples"):
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        for path in [*ROOT.glob("*.md"), ROOT / "pyproject.toml", ROOT / "Makefile", ROOT / "LICENSE"]:
            shutil.copy(path, root)
        roots.put(root)
    return roots


def core_files() -> Iterable[Path]:
    for name in CORE:
        path = ROOT / "src/byway" / name
        yield from [path] if path.suffix else sorted(path.rglob("*.py"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="changes to sample (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=11, help="of the sample (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="changes tested at a time (default: %(default)s)")
    parser.add_argument("--only", default="", help="sample only files whose path contains this")
    parser.add_argument("--data", type=Path, help="a folder for the coverage data; used again when it is not empty")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="byway-mutants-") as temporary:
        folder = options.data or Path(temporary) / "data"
        folder.mkdir(parents=True, exist_ok=True)
        if not list(folder.glob("data*")):
            print("mutants: running the unit tests once, to see which test runs which line", flush=True)
            record_coverage(folder, options.jobs)
        lines, seconds = covering(folder)
        every = [mutant for path in core_files() for mutant in mutants(path) if options.only in mutant.path]
        sample = random.Random(options.seed).sample(every, min(options.count, len(every)))
        print(f"mutants: {len(sample)} of {len(every)} changes", flush=True)
        roots = copies(Path(temporary), options.jobs)

        def judge(mutant: Mutant) -> tuple[Mutant, str]:
            covered = lines.get(mutant.path, {})
            tests = affordable(covered.get(mutant.line) or covered.get(mutant.statement) or [], seconds)
            if not tests:
                return mutant, ""
            root = roots.get()
            try:
                return mutant, noticed_by(mutant, tests, root)
            finally:
                roots.put(root)

        start = time.monotonic()
        survived = []
        with ThreadPoolExecutor(options.jobs) as pool:
            for number, (mutant, result) in enumerate(pool.map(judge, sample), 1):
                where = f"{mutant.path}:{mutant.line} {mutant.change}: {mutant.before}  ->  {mutant.after}"
                print(f"{number:4} {'noticed' if result else 'SURVIVED'}  {where}  {result}", flush=True)
                if not result:
                    survived.append(where)
    score = len(sample) - len(survived)
    print(f"mutants: {score} of {len(sample)} noticed ({time.monotonic() - start:.0f} s)")
    print("\n".join(survived))
    if not options.only:
        page = ROOT / "docs/internals.md"
        today = datetime.date.today().isoformat()
        text = f"{score} of {len(sample)} sampled changes are noticed by a unit test (seed {options.seed}, {today})."
        page.write_text(
            SCORE.sub(f"<!-- mutation score -->\n{text}\n<!-- end -->", page.read_text("utf-8")), encoding="utf-8"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
