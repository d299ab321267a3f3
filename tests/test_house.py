"""The walls of docs/internals.md: who may import what, how files are named, and what the docs must know."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest

from byway import problems
from byway.backends.protocol import BackendProtocol
from byway.backends.vendors import VENDORS, ProtocolName
from byway.config import Config
from byway.config.settings import notes
from byway.runtime import PROTOCOLS

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((SOURCE / "byway").rglob("*.py"))
}
#: Values in, values out. A prefix stands for the package below it too.
PURE = (
    "byway.messages",
    "byway.fronts",
    "byway.backends",
    "byway.pipeline.forced",
    "byway.routing",
    *(f"byway.config.{name}" for name in ("settings", "document", "reading", "editing", "paths", "validators")),
    "byway.problems",
    "byway.secrets.names",
    "byway.urls",
    "byway.domains",
    "byway.web.provenance",
    "byway.web.guard",
    "byway.local.gguf",
)
IMPURE = {
    *("asyncio", "concurrent", "http", "httptools", "multiprocessing", "select", "signal", "socket", "sqlite3", "ssl"),
    *("subprocess", "threading", "urllib.request", "uvicorn", "uvloop"),
    *("ctypes", "logging", "os", "pathlib", "random", "shutil", "sys", "tempfile", "time"),
}
#: What only one module may know.
WALLS = {
    "httptools": {"byway.upstream.client", "byway.server.connection"},
    "sqlite3": {"byway.store"},
    "trafilatura": {"byway.web.extract"},
    "lxml": {"byway.web.extract"},
    "keyring": {"byway.secrets.vault"},
    "fcntl": {"byway.platform"},
    "msvcrt": {"byway.platform"},
    "winreg": {"byway.platform"},
    "pwd": {"byway.platform"},
    "ctypes": {"byway.platform"},
    "resource": {"byway.platform"},
}
BANNED_NAMES = set("utils util helpers helper common core manager managers handler misc".split())
LONGEST = 700


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(module: str, *, top: bool = False) -> Iterator[tuple[str, int]]:
    """(full name, line) of everything that `module` imports; `top`: only what importing it runs."""
    path = MODULES[module]
    stack: list[ast.AST] = list(tree(path).body)
    while stack:
        node = stack.pop()
        if top and (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _for_types(node)):
            continue
        stack.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module if path.name == "__init__.py" else module.rpartition(".")[0]
            for _ in range(node.level - 1):
                package = package.rpartition(".")[0]
            base = ".".join(filter(None, (package if node.level else "", node.module)))
            yield base, node.lineno
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def within(name: str, wanted: str) -> bool:
    return name == wanted or name.startswith(f"{wanted}.")


def test_pure_modules_do_no_io() -> None:
    pure = [module for module in MODULES if any(within(module, prefix) for prefix in PURE)]
    assert len(pure) >= len(PURE)
    found = [
        f"{MODULES[module].relative_to(ROOT)}:{line} imports {name}"
        for module in pure
        for name, line in imports(module)
        if any(within(name, banned) for banned in IMPURE)
    ]
    assert not found, "pure modules take values and give values:\n" + "\n".join(found)


def test_each_wall_has_one_door() -> None:
    found = [
        f"{MODULES[module].relative_to(ROOT)}:{line} imports {name}: only {', '.join(doors)} may"
        for module in MODULES
        for name, line in imports(module)
        for wall, doors in WALLS.items()
        if within(name, wall) and module not in doors
    ]
    assert not found, "\n".join(found)


def test_the_system_is_asked_in_one_place() -> None:
    """Nothing outside platform.py looks at which operating system this is."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for module, path in MODULES.items()
        if module != "byway.platform"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if (node.value.id, node.attr) in {("sys", "platform"), ("os", "name")}
    ]
    assert not found, f"platform.py answers what depends on the system: {found}"


def test_there_is_no_import_cycle() -> None:
    graph = {
        module: sorted({name for name, _ in imports(module, top=True) if name in MODULES and name != module})
        for module in MODULES
    }
    # `from byway.config import x` inside byway.config.reading runs the package first: that is Python's own order.
    graph = {module: [name for name in names if not within(module, name)] for module, names in graph.items()}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"import cycle: {' -> '.join((*path[path.index(module) :], module))}"
        if module not in done:
            for name in graph[module]:
                visit(name, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_every_backend_module_satisfies_the_protocol() -> None:
    assert set(PROTOCOLS) == set(get_args(ProtocolName))
    wanted = {name: value for name, value in vars(BackendProtocol).items() if inspect.isfunction(value)}
    wanted.pop("__init__", None)
    wanted.pop("__subclasshook__", None)
    assert {"request", "reader", "problem", "models"} <= set(wanted)
    for name, module in PROTOCOLS.items():
        for method, declared in wanted.items():
            own = getattr(module, method, None)
            assert callable(own), f"backends/{name}.py has no {method}()"
            expected = list(inspect.signature(declared).parameters)[1:]
            given = inspect.signature(own).parameters
            assert list(given)[: len(expected)] == expected, f"backends/{name}.py: {method}({', '.join(expected)})"
            extra = list(given.values())[len(expected) :]
            assert all(one.default is not one.empty for one in extra), f"backends/{name}.py: {method} asks for more"


def test_every_vendor_speaks_a_protocol_that_exists() -> None:
    assert {vendor.protocol for vendor in VENDORS.values()} == set(get_args(ProtocolName))


# --- the docs know what the code knows --------------------------------------------------------------------------------


def test_every_problem_kind_stands_in_the_docs() -> None:
    rows = dict(
        re.findall(r"^\| `(\w+)` \| (.+?) \|$", (ROOT / "docs/errors.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert set(rows) == set(problems.TABLE) == set(get_args(problems.Kind))
    for kind, row in problems.TABLE.items():
        status, wire, *words = rows[kind].split(" | ")
        assert (status, wire) == (str(row.status), f"`{row.type}`"), f"docs/errors.md: {kind}"
        assert len(words) == 2, f"docs/errors.md: {kind} needs what it means and what to do"
        assert all(words), f"docs/errors.md: {kind} says nothing"


def settings(kind: Any) -> Iterator[str]:
    """Every setting as it is written in the file, however deep."""
    if get_origin(kind) is not None or isinstance(kind, types.UnionType):
        for part in get_args(kind):
            yield from settings(part)
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints, about = get_type_hints(kind), notes(kind)
        for name, wire in zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True):
            if not about[name].inner:
                yield wire
                yield from settings(hints[name])


def test_every_setting_stands_in_the_docs() -> None:
    text = (ROOT / "docs/config.md").read_text(encoding="utf-8")
    written = re.findall(r"`([^`\n]+)`|^[\s#-]*([a-z_0-9]+):", text, re.MULTILINE)
    words = set(re.findall(r"\w+", " ".join(map("".join, written))))
    found = set(settings(Config))
    assert {"bind_address", "model_aliases", "url", "global"} <= found
    assert not found - words, f"docs/config.md does not know these settings: {sorted(found - words)}"


def test_links_between_the_docs_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)} -> {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
        if "://" not in target and not target.startswith("mailto:") and not (page.parent / target).exists()
    ]
    assert not broken, f"dead links: {broken}"


# --- form -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_named_described_and_short(module: str) -> None:
    path = MODULES[module]
    name = module.rpartition(".")[2]
    lines = path.read_text(encoding="utf-8").splitlines()
    docstring = ast.get_docstring(tree(path))
    assert docstring, "what lives here, and what does not?"
    assert len(docstring.splitlines()) <= 5, "a module docstring is one to four lines"
    assert name == "__main__" or re.fullmatch(r"[a-z]+", name), "one lower-case word"
    assert name not in BANNED_NAMES, f"{name} says nothing"
    assert len(lines) <= LONGEST, f"{len(lines)} lines: make it a package of the same name"
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", "\n".join(lines))


@pytest.mark.parametrize("module", MODULES)
def test_public_functions_say_what_they_do(module: str) -> None:
    """Module-level functions; a backend's are described once, by its Protocol."""
    contract = set(vars(BackendProtocol)) if within(module, "byway.backends") else set()
    silent = [
        node.name
        for node in tree(MODULES[module]).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if not node.name.startswith("_") and node.name not in contract and not ast.get_docstring(node)
    ]
    assert not silent, f"{module}: no docstring: {silent}"


# --- the tests' own walls ---------------------------------------------------------------------------------------------

LEAVING = """
import asyncio, contextlib, socket, pytest

def test_connects():
    with contextlib.suppress(OSError):
        socket.create_connection(("192.0.2.1", 9), timeout=1)

def test_looks_up():
    async def go():
        with contextlib.suppress(OSError):
            await asyncio.open_connection("byway.example", 9)
    asyncio.run(go())

def test_stays():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass

def test_needs(program):
    program("a-program-that-nobody-has")

def test_elsewhere():
    pytest.skip("only on another system")
"""


def test_conftest_keeps_tests_on_this_machine_and_from_skipping(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "test_leaving.py").write_text(LEAVING, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")

    def run(**more: str) -> str:
        command = [sys.executable, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", str(tmp_path)]
        return subprocess.run(command, cwd=tmp_path, env=os.environ | more, capture_output=True, text=True).stdout

    lenient, strict = run(BYWAY_TEST_REQUIRE=""), run(BYWAY_TEST_REQUIRE="all")
    assert "tried to leave the machine: a connection to 192.0.2.1:9" in lenient
    assert "tried to leave the machine: a look-up of byway.example" in lenient
    assert re.search(r"^3 passed, 2 skipped, 2 errors in", lenient, re.MULTILINE), lenient
    assert "a-program-that-nobody-has is not installed" in lenient
    assert re.search(r"^1 failed, 3 passed, 1 skipped, 2 errors in", strict, re.MULTILINE), strict
    assert "allows no skip, and this test was skipped: a-program-that-nobody-has is not installed" in strict
