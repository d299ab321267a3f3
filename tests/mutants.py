"""Mutation run over the core: changes the code in sampled places, one at a time, and checks that a unit test fails.

`make mutants` samples 100 changes with a fixed seed, runs the tests that cover the changed line until one fails, two
changes at a time, and writes the score into docs/internals.md. Tests in tests/e2e are not run.
"""

from __future__ import annotations

import argparse
import ast
import copy
import datetime
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
#: A change that makes tests run longer than this counts as noticed.
SECONDS = 240
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
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
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


# ------------------------------------------------------------------------------------------------------------ coverage


class ContextPlugin:
    """Records which test runs which line: the coverage context is the test's function."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        import coverage

        current = coverage.Coverage.current()
        if current is not None:
            current.switch_context(item.nodeid.partition("[")[0])
        return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Called when pytest loads this file with `-p mutants`."""
    config.pluginmanager.register(ContextPlugin())


def record_coverage(folder: Path) -> None:
    """Run the unit tests once and store which test runs which line, how long each takes, and which fail."""
    rc = folder / "coveragerc"
    rc.write_text(f"[run]\nsource = {ROOT / 'src/byway'}\ndata_file = {folder / 'data'}\n")
    command = [sys.executable, "-m", "coverage", "run", f"--rcfile={rc}", "-m", "pytest", "-p", "mutants", "-q"]
    command += [
        "-p",
        "no:cacheprovider",
        "--ignore",
        "tests/e2e",
        "--durations=0",
        "-vv",
        "--no-header",
        "-rf",
        "tests",
    ]
    done = subprocess.run(command, cwd=ROOT, env=_environ(ROOT), capture_output=True, text=True, check=False)
    seconds: dict[str, float] = defaultdict(float)
    for number, test in re.findall(r"^([\d.]+)s (?:call|setup|teardown) +(\S+?)(?:\[.*)?$", done.stdout, re.MULTILINE):
        seconds[test] += float(number)
    failed = sorted({test for test in re.findall(r"^FAILED (\S+?)(?:\[|$| )", done.stdout, re.MULTILINE)})
    (folder / "tests.json").write_text(json.dumps({"seconds": seconds, "failed": failed}))
    if not (folder / "data").exists():
        raise SystemExit(f"the unit tests did not run:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


def covering(folder: Path) -> dict[str, dict[int, list[str]]]:
    """For each file, the tests that run a line: the quickest first, those that fail anyway left out."""
    import coverage

    data = coverage.CoverageData(str(folder / "data"))
    data.read()
    known = json.loads((folder / "tests.json").read_text())
    left_out, seconds = set(known["failed"]), known["seconds"]
    return {
        Path(name).relative_to(ROOT).as_posix(): {
            line: sorted((test for test in tests if test and test not in left_out), key=lambda t: seconds.get(t, 0.0))
            for line, tests in data.contexts_by_lineno(name).items()
        }
        for name in data.measured_files()
    }


def _environ(root: Path) -> dict[str, str]:
    path = os.pathsep.join((str(root / "src"), str(root / "tests")))
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


# ----------------------------------------------------------------------------------------------------------------- run


def noticed_by(mutant: Mutant, tests: list[str], root: Path) -> str:
    """The result of `mutant` in the copy `root`: the test that fails, `timeout`, or "" when all pass."""
    file = root / mutant.path
    original = file.read_text("utf-8")
    file.write_text(mutated(original, mutant.number), "utf-8")
    # A file with arguments, one a line: there may be thousands of tests.
    (root / "selected").write_text("\n".join(tests))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header", "@selected"]
    try:
        done = subprocess.run(
            command, cwd=root, env=_environ(root), capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return "timeout"
    finally:
        file.write_text(original, "utf-8")
    if done.returncode == 0:
        return ""
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return failed[1] if failed else f"exit code {done.returncode}"


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
        if not (folder / "tests.json").exists():
            print("mutants: running the unit tests once, to see which test runs which line", flush=True)
            record_coverage(folder)
        lines = covering(folder)
        every = [mutant for path in core_files() for mutant in mutants(path) if options.only in mutant.path]
        sample = random.Random(options.seed).sample(every, min(options.count, len(every)))
        print(f"mutants: {len(sample)} of {len(every)} changes", flush=True)
        roots = copies(Path(temporary), options.jobs)

        def judge(mutant: Mutant) -> tuple[Mutant, str]:
            covered = lines.get(mutant.path, {})
            tests = covered.get(mutant.line) or covered.get(mutant.statement) or []
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
