"""The rules of docs/internals.md: allowed imports, names, form of modules, and what the docs must contain."""

from __future__ import annotations

import ast
import gc
import inspect
import re
import sys
import tomllib
import types
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from byway import problems
from byway.backend import PROTOCOLS
from byway.backends.protocol import BackendProtocol
from byway.backends.vendors import VENDORS, ProtocolName
from byway.config import Config
from byway.config.notes import notes

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((SOURCE / "byway").rglob("*.py"))
}
#: Modules that take values and return values. A package stands for everything below it.
PURE = (
    "byway.messages",
    "byway.fronts",
    "byway.backends",
    "byway.pipeline.forced",
    "byway.routing",
    "byway.limits",
    "byway.metrics",
    *(f"byway.inspector.{name}" for name in ("attempts", "casefile", "cleaning", "comparison", "curl")),
    "byway.tracing.request",
    *(
        f"byway.config.{name}"
        for name in (
            "settings",
            "notes",
            "promptsettings",
            "guardrailsettings",
            "guardrailchecks",
            "batchsettings",
            "oidcchecks",
            "filechecks",
            "filesettings",
            "metricsettings",
            "tracingsettings",
            "tracingchecks",
            "planned",
            "acp",
            "document",
            "expected",
            "limits",
            "limitchecks",
            "localchecks",
            "reading",
            "backendchecks",
            "editing",
            "masking",
            "hiding",
            "exporting",
            "paths",
            "pricechecks",
            "promptchecks",
            "targetchecks",
            "signinchecks",
            "signinsettings",
            "responsesettings",
            "restrictions",
            "secretuses",
            "server",
            "servertlschecks",
            "validators",
            "watch",
        )
    ),
    "byway.responseitems",
    "byway.roles",
    "byway.access.oidc",
    "byway.signin",
    "byway.mcp.protocol",
    "byway.guardrails",
    "byway.prompts",
    "byway.batches.batch",
    "byway.batches.splitter",
    "byway.codes",
    "byway.problems",
    "byway.secrets.names",
    "byway.scrub",
    "byway.urls",
    "byway.domains",
    "byway.providers",
    "byway.store.firsttokens",
    "byway.ui.charts",
    "byway.ui.menu",
    "byway.prices.price",
    "byway.prices.catalog",
    "byway.call",
    "byway.wordings",
    "byway.files.types",
    "byway.files.multipart",
    "byway.web.provenance",
    "byway.web.guard",
    "byway.web.content",
    "byway.local.gguf",
    "byway.endpoints.address",
    "byway.endpoints.advice",
    "byway.launch.shells",
    "byway.launch.target",
    "byway.launch.environment",
    "byway.launch.agents",
    "byway.host.events",
    "byway.clientfiles.jsonc",
    "byway.clientfiles.shell",
    "byway.clientfiles.masking",
    "byway.clientfiles.changes",
)
IMPURE = {
    *("asyncio", "concurrent", "http", "httptools", "multiprocessing", "select", "signal", "socket", "sqlite3", "ssl"),
    *("subprocess", "threading", "urllib.request", "uvicorn", "uvloop"),
    *("ctypes", "logging", "os", "pathlib", "random", "shutil", "sys", "tempfile", "time"),
}
#: Packages that only some modules may import.
WALLS = {
    "httptools": {"byway.upstream.connection", "byway.server.connection"},
    "sqlite3": {"byway.store.database"},
    "trafilatura": {"byway.parsing.html"},
    "lxml": {"byway.parsing.html"},
    "genai_prices": {"byway.prices.extract"},
    "obstore": {"byway.files.bucket"},
    "opentelemetry": {"byway.tracing.tracer"},
    "requests": {"byway.tracing.tracer"},
    "pypdf": {"byway.parsing.pdf"},
    "jwt": {"byway.access.oidc"},
    "keyring": {"byway.secrets.vault"},
    "claude_agent_sdk": {"byway.host.sdk"},
    "fcntl": {"byway.platform"},
    "msvcrt": {"byway.platform"},
    "winreg": {"byway.platform"},
    "pwd": {"byway.platform"},
    "termios": {"byway.programs"},
    "ctypes": {"byway.platform"},
    "resource": {"byway.platform"},
}
#: Packages of optional parts, which pyproject.toml lists in groups.
OPTIONAL_PACKAGES = frozenset(
    (
        "claude_agent_sdk",
        "cryptography",
        "genai_prices",
        "jwt",
        "keyring",
        "lxml",
        "obstore",
        "opentelemetry",
        "requests",
        "trafilatura",
        "xllamacpp",
    )
)
BANNED_NAMES = set("utils util helpers helper common core manager managers handler misc".split())
#: From the top down: a package imports from the lines below its own and from no other.
LAYERS = (
    "cli",
    "host",
    "launch",
    "server",
    "ui",
    "routes",
    "clients",
    "gateway",
    "pipeline admin mcp",
    "runtime",
    "local backend",
    "history search web endpoints limits batches prompts inspector",
    "upstream prices files tls tracing",
    "config",
    "secrets",
    "parsing backends fronts access clientfiles signin guardrails",
    "responseitems",
    "messages routing store",
    "learned usage metrics",
    "largebodies",
    "providers programs roles",
    "platform problems domains logs bounded codes scopes display call scrub proxies wordings",
    "urls decoding",
)
#: Names that do not say what a variable holds.
VAGUE_NAMES = frozenset("one found said told asked heard".split())
#: Where such a name may be defined: in prose other characters or words follow.
DEFINITION = re.compile(
    rf"\b_*(?:{'|'.join(sorted(VAGUE_NAMES))})_*\b(?=\s*(?:[\[\](){{}},:;=#\\]|(?:[-+*/%&^@|<>]|\*\*|//|<<|>>)=|in\b|if\b))"
)
#: Words of the docs' earlier style; docs/glossary.md and plain English have better ones.
UNPLAIN = re.compile(
    r"\b(whoever|whom|nobody|somebody|anew|mend(?:s|ed)?|broken off|lets? in|ask(?:s|ed) for|leads?|stands|lies"
    r"|by way of|told|tells|says|hears|speaks|wants|knows)\b",
    re.IGNORECASE,
)
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
PYTHON = [
    *MODULES.values(),
    *sorted((ROOT / "tests").rglob("*.py")),
    *sorted((ROOT / "bench").rglob("*.py")),
    *sorted((ROOT / "docs").rglob("*.py")),
]
#: Module-level collections that grow, and what bounds them.
BOUNDED = {
    "byway.config.notes.notes": "one entry for each class of settings",
    "byway.config.notes.fields_of": "one entry for each class of settings",
    "byway.backends.openai.toolformats._cache": "cleared at its limit",
    "byway.backends.openai.tools._converted": "cleared at its limit",
    "byway.backends.responses.request._flat_tools": "cleared at its limit",
    "byway.wordings._WORDINGS": "one entry for each pattern in the code",
    "byway.backends.openai.toolparser._pattern": "one entry for each set of marks in the code",
}

LONGEST = 700


@cache
def source(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(source(path))


@cache
def nodes(path: Path) -> list[ast.AST]:
    """What `ast.walk` returns, in half of its time, without the nodes that only tell a name's use (`ctx`)."""
    walked: list[ast.AST] = [tree(path)]
    for node in walked:
        for name in node._fields:
            if name == "ctx":
                continue
            value = getattr(node, name, None)
            if isinstance(value, ast.AST):
                walked.append(value)
            elif isinstance(value, list):
                walked += [child for child in value if isinstance(child, ast.AST)]
    return walked


@pytest.fixture(scope="module", autouse=True)
def _uncollected() -> Iterator[None]:
    """All trees stay until the last of these tests: garbage collection would look at every node again and again."""
    gc.disable()
    yield
    tree.cache_clear()
    nodes.cache_clear()
    gc.enable()


@cache
def imports(module: str) -> tuple[tuple[str, int], ...]:
    """(full name, line) of every import in `module`, those in functions and under TYPE_CHECKING included."""
    return tuple(_imports(module))


def _imports(module: str) -> Iterator[tuple[str, int]]:
    path = MODULES[module]
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module if path.name == "__init__.py" else module.rpartition(".")[0]
            for _ in range(node.level - 1):
                package = package.rpartition(".")[0]
            base = ".".join(filter(None, (package if node.level else "", node.module)))
            yield base, node.lineno
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)


def within(name: str, wanted: str) -> bool:
    return name == wanted or name.startswith(f"{wanted}.")


def test_pure_modules_do_no_io() -> None:
    pure = [module for module in MODULES if any(within(module, prefix) for prefix in PURE)]
    assert len(pure) >= len(PURE)
    wrong = [
        f"{MODULES[module].relative_to(ROOT)}:{line} imports {name}"
        for module in pure
        for name, line in imports(module)
        if any(within(name, banned) for banned in IMPURE)
    ]
    assert not wrong, "pure modules take values and return values:\n" + "\n".join(wrong)


def test_some_packages_are_imported_by_one_module() -> None:
    wrong = [
        f"{MODULES[module].relative_to(ROOT)}:{line} imports {name}: only {', '.join(doors)} may"
        for module in MODULES
        for name, line in imports(module)
        for wall, doors in WALLS.items()
        if within(name, wall) and module not in doors
    ]
    assert not wrong, "\n".join(wrong)


def test_only_platform_reads_which_operating_system_this_is() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for module, path in MODULES.items()
        if module not in ("byway.platform", "byway.programs")
        for node in nodes(path)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if (node.value.id, node.attr) in {("sys", "platform"), ("os", "name")}
    ]
    assert not wrong, f"only platform.py and programs.py may depend on the operating system: {wrong}"


def test_only_declared_packages_are_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {canonicalize_name(Requirement(line).name).replace("-", ".") for line in project["dependencies"]}
    declared |= {"byway", *OPTIONAL_PACKAGES}
    undeclared = {
        f"{module}: {name}"
        for module in MODULES
        for name, _ in imports(module)
        if name.partition(".")[0] not in sys.stdlib_module_names
        if not any(name.startswith(package) for package in declared)
    }
    assert not undeclared


def test_no_code_compares_the_name_of_a_vendor_or_protocol() -> None:
    wrong = []
    for path in MODULES.values():
        for node in nodes(path):
            if isinstance(node, ast.Compare):
                sides = (node.left, *node.comparators)
                constants = {part.value for side in sides for part in ast.walk(side) if isinstance(part, ast.Constant)}
                if not constants.isdisjoint((*VENDORS, *PROTOCOLS)) and any(
                    re.search(r"\b(type|vendor|protocol|vendor\.name)$", ast.unparse(side)) for side in sides
                ):
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node)}")
    assert not wrong, "compare a fact of the row, such as `vendor.managed`:\n" + "\n".join(wrong)


@cache
def dependencies(module: str) -> set[str]:
    """The modules of Byway that `module` imports. `from package import module` depends on the module alone."""
    names: dict[int, set[str]] = {}
    for name, line in imports(module):
        if name in MODULES and name != module:
            names.setdefault(line, set()).add(name)
    return {
        name
        for group in names.values()
        for name in group
        if not any(within(other, name) for other in group if other != name)
    }


def cycles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """Groups of modules that import each other, directly or through others (strongly connected components)."""

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        stack = [start]
        while stack:
            for name in graph[stack.pop()] - seen:
                seen.add(name)
                stack.append(name)
        return seen

    closure = {module: reachable(module) for module in graph}
    groups: list[set[str]] = []
    for module in graph:
        if module in closure[module] and not any(module in group for group in groups):
            groups.append({module, *(name for name in closure[module] if module in closure[name])})
    return groups


def test_there_is_no_import_cycle() -> None:
    groups = [group for group in cycles({module: dependencies(module) for module in MODULES})]
    assert not groups, "import cycles:\n" + "\n".join(", ".join(sorted(group)) for group in groups)


def test_imports_go_from_upper_layers_to_lower_ones() -> None:
    rank = {package: at for at, layer in enumerate(LAYERS) for package in layer.split()}
    packages = {module.split(".")[1] for module in MODULES if "." in module} - {"__main__"}
    assert packages <= set(rank), f"give each package a layer: {sorted(packages - set(rank))}"
    upward = {
        f"{MODULES[module].relative_to(ROOT)} imports {name}"
        for module in MODULES
        if module not in ("byway", "byway.__main__")
        for name in dependencies(module)
        if name != "byway"
        if (above := module.split(".")[1]) != (below := name.split(".")[1]) and rank[below] <= rank[above]
    }
    wrong = sorted(upward)
    assert not wrong, "imports within a layer or to an upper one:\n" + "\n".join(wrong)


def test_each_class_name_is_used_once() -> None:
    places: dict[str, list[str]] = {}
    for path in MODULES.values():
        for node in nodes(path):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(f"{path.relative_to(ROOT)}:{node.lineno}")
    repeated = {name: lines for name, lines in places.items() if len(lines) > 1}
    assert not repeated, "class names must be unique:\n" + "\n".join(
        f"{name}: {', '.join(lines)}" for name, lines in sorted(repeated.items())
    )


def test_package_files_hold_no_logic() -> None:
    """`__init__.py` holds a docstring, re-exports, `__all__` and `__version__`."""
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in MODULES.values()
        if path.name == "__init__.py"
        for node in tree(path).body
        if not isinstance(node, ast.Import | ast.ImportFrom)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        and not (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("__all__", "__version__"))
    ]
    assert not wrong, f"move this to a module: {wrong}"


def identifiers(path: Path) -> Iterator[tuple[str, int]]:
    """(name, line) of each variable, parameter, function and attribute that a file defines."""
    for node in nodes(path):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.MatchAs | ast.MatchStar):
            yield node.name or "", node.lineno


def names(code: types.CodeType) -> Iterator[str]:
    """Each name in compiled code: those that `identifiers` returns, those that are only read, and texts.

    The name of an annotated field without a value is a text.
    """
    yield from (code.co_name, *code.co_names, *code.co_varnames, *code.co_cellvars)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from names(constant)
        elif isinstance(constant, str):
            yield constant


def uses_a_vague_name(path: Path) -> bool:
    """Compiling is quicker than a look at each node, which only few files need, and a search quicker than both."""
    if not DEFINITION.search(source(path)):
        return False
    code = compile(source(path), str(path), "exec", dont_inherit=True)
    return any(name.strip("_") in VAGUE_NAMES for name in names(code))


def test_variables_of_templates_are_named_for_what_they_hold() -> None:
    defined = re.compile(rf"{{%-? (?:for|set) (?:{'|'.join(sorted(VAGUE_NAMES))})\b.*")
    templates = sorted((ROOT / "src/byway/ui/templates").glob("*.html"))
    assert templates
    assert [match[0] for path in templates for match in defined.finditer(path.read_text())] == []


def test_variables_are_named_for_what_they_hold() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} {variable}"
        for path in PYTHON
        if uses_a_vague_name(path)
        for variable, line in identifiers(path)
        if variable.strip("_") in VAGUE_NAMES
    ]
    assert not wrong, "name these for what they hold:\n" + "\n".join(wrong)


def test_collections_of_a_module_have_a_bound() -> None:
    """An empty collection at module level grows with its input: it is checked against a bound, and listed here."""
    wrong = []
    for module, path in MODULES.items():
        for node in tree(path).body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value and _is_empty_collection(node.value):
                name = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
                if f"{module}.{name}" not in BOUNDED:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {name}")
        for function in nodes(path):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for decorator in function.decorator_list:
                    text = ast.unparse(decorator).removeprefix("functools.")
                    takes = function.args.args or function.args.kwonlyargs or function.args.vararg
                    endless = (text == "cache" and takes) or text in ("lru_cache(None)", "lru_cache(maxsize=None)")
                    if endless and f"{module}.{function.name}" not in BOUNDED:
                        wrong.append(f"{path.relative_to(ROOT)}:{function.lineno} {function.name}")
    assert not wrong, "unbounded collections:\n" + "\n".join(wrong)


def _is_empty_collection(value: ast.expr) -> bool:
    text = ast.unparse(value)
    return text in ("{}", "[]") or bool(
        re.fullmatch(r"([\w.]*\.)?(set|dict|list|OrderedDict|Counter|WeakValueDictionary|deque)\(\)", text)
        or re.match(r"([\w.]*\.)?defaultdict\(\w+\)$", text)
    )


def test_every_backend_module_satisfies_the_protocol() -> None:
    assert set(PROTOCOLS) == set(get_args(ProtocolName))
    wanted = {name: value for name, value in vars(BackendProtocol).items() if inspect.isfunction(value)}
    wanted.pop("__init__", None)
    wanted.pop("__subclasshook__", None)
    assert {"request", "reader", "problem", "models"} <= set(wanted)
    for name, load in PROTOCOLS.items():
        module = load()
        for method, declared in wanted.items():
            own = getattr(module, method, None)
            assert callable(own), f"backends/{name}.py has no {method}()"
            expected = list(inspect.signature(declared).parameters)[1:]
            given = inspect.signature(own).parameters
            assert list(given)[: len(expected)] == expected, f"backends/{name}.py: {method}({', '.join(expected)})"
            extra = list(given.values())[len(expected) :]
            assert all(item.default is not item.empty for item in extra), f"backends/{name}.py: {method} asks for more"


def test_every_vendor_has_an_existing_protocol() -> None:
    assert {vendor.protocol for vendor in VENDORS.values()} <= set(get_args(ProtocolName))


# --- the docs know what the code knows --------------------------------------------------------------------------------


def test_the_docs_have_every_problem_kind() -> None:
    rows = dict(
        re.findall(r"^\| `(\w+)` \| (.+?) \|$", (ROOT / "docs/errors.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert set(rows) == set(problems.TABLE) == set(get_args(problems.Kind))
    for kind, row in problems.TABLE.items():
        status, wire, *words = rows[kind].split(" | ")
        assert (status, wire) == (str(row.status), f"`{row.type}`"), f"docs/errors.md: {kind}"
        assert len(words) == 2, f"docs/errors.md: {kind} needs a meaning and an action"
        assert all(words), f"docs/errors.md: {kind} has an empty cell"


def settings(kind: Any) -> Iterator[str]:
    """Every setting as it is written in the file, however deep."""
    if get_origin(kind) is not None or isinstance(kind, types.UnionType):
        for part in get_args(kind):
            yield from settings(part)
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints, about = get_type_hints(kind), notes(kind)
        for name, wire in zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True):
            if not about[name].internal:
                yield wire
                yield from settings(hints[name])


def test_the_docs_have_every_setting() -> None:
    text = (ROOT / "docs/config.md").read_text(encoding="utf-8")
    written = re.findall(r"`([^`\n]+)`|^[\s#-]*([a-z_0-9]+):", text, re.MULTILINE)
    words = set(re.findall(r"\w+", " ".join(map("".join, written))))
    names = set(settings(Config))
    assert {"bind_address", "model_aliases", "url", "global"} <= names
    assert not names - words, f"docs/config.md lacks these settings: {sorted(names - words)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_docs_use_plain_words(page: Path) -> None:
    wrong = [
        f"{page.relative_to(ROOT)}:{number}: {match[0]}"
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
        for match in UNPLAIN.finditer(re.sub(r"`[^`]*`", "", line))
    ]
    assert not wrong, "use plain words:\n" + "\n".join(wrong)


def test_the_tree_in_the_docs_names_every_module() -> None:
    tree_text = (ROOT / "docs/internals.md").read_text(encoding="utf-8").split("```")[1]
    words = set(re.findall(r"[a-z_]+", tree_text))
    names = {module.split(".")[1] for module in MODULES if "." in module} - {"__main__"}
    assert not names - words, f"docs/internals.md does not name {sorted(names - words)}"
    packages = set(re.findall(r"^  (\w+)/", tree_text, re.MULTILINE))
    actual = {module.split(".")[1] for module, path in MODULES.items() if path.name == "__init__.py" and "." in module}
    assert packages == actual, f"packages differ: {sorted(packages ^ actual)}"


def test_links_between_the_docs_have_a_target() -> None:
    broken = [
        f"{page.relative_to(ROOT)} -> {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
        if "://" not in target and not target.startswith("mailto:") and not (page.parent / target).exists()
    ]
    assert not broken, f"dead links: {broken}"


# --- form -------------------------------------------------------------------------------------------------------------


def test_modules_are_named_described_and_short() -> None:
    wrong = [f"{module}: {fault}" for module in MODULES for fault in faults(module)]
    assert not wrong, "\n".join(wrong)


def faults(module: str) -> Iterator[str]:
    """What is wrong with the form of `module`."""
    path = MODULES[module]
    name = module.rpartition(".")[2]
    lines = source(path).count("\n")
    docstring = ast.get_docstring(tree(path)) or ""
    if not docstring:
        yield "describe what the module contains"
    if len(docstring.splitlines()) > 5:
        yield "a module docstring is one to four lines"
    if name != "__main__" and not re.fullmatch(r"[a-z]+", name):
        yield "a module's name is one lower-case word"
    if name in BANNED_NAMES:
        yield f"{name} is no description"
    if lines > LONGEST:
        yield f"{lines} lines: make it a package of the same name"
    if mark := re.search(r"\b(TODO|FIXME|XXX)\b", source(path)):
        yield f"a {mark[0]} is left"


def test_public_functions_have_a_docstring() -> None:
    """Module-level functions; a backend's are described once, by its Protocol."""
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for module, path in MODULES.items()
        for node in tree(path).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if not node.name.startswith("_") and not ast.get_docstring(node)
        if not (within(module, "byway.backends") and node.name in vars(BackendProtocol))
    ]
    assert not silent, "functions without a docstring:\n" + "\n".join(silent)
