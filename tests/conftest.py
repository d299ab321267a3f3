"""The environment of every test: a scratch home, no credentials, loopback only, no skip in CI.

Tests in `tests/e2e` may start processes, the others may not.
"""

from __future__ import annotations

import gc
import ipaddress
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from _pytest.runner import runtestprotocol
from properties import examples

# Neither a slow draw nor a slow example is a failure: a busy machine would decide it.
hypothesis.settings.register_profile(
    "byway",
    max_examples=examples(100),
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("byway")

#: With `all` a test that is skipped because a program is not installed fails.
STRICT = os.environ.get("BYWAY_TEST_REQUIRE") == "all"
#: A skip whose reason starts with these words depends on the operating system and stays a skip.
ELSEWHERE = "only on "
#: Tests in this folder start processes; they carry the marker `e2e`.
E2E = Path(__file__).parent / "e2e"

_OURS = re.compile(
    r"(ANTHROPIC|OPENAI|CLAUDE|BYWAY|LITELLM|OLLAMA|HF|AWS|GOOGLE|AZURE)_.*|CLAUDECODE|(.*_)?(API_KEY|TOKEN|PROXY)",
    re.IGNORECASE,
)
_SCRATCH = tempfile.TemporaryDirectory(prefix="byway-test-", ignore_cleanup_errors=True)


def pytest_configure() -> None:
    """Set the environment before any module is imported; processes that tests start inherit it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # A run in the background ignores it, and so would the processes that tests start and interrupt.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in [name for name in os.environ if _OURS.fullmatch(name)]:
        if not name.startswith("BYWAY_TEST_"):
            del os.environ[name]
    home = Path(_SCRATCH.name)
    for name, folder in {
        "HOME": "home",
        "USERPROFILE": "home",
        "XDG_CONFIG_HOME": "home/.config",
        "XDG_DATA_HOME": "home/.local/share",
        "XDG_STATE_HOME": "home/.local/state",
        "XDG_CACHE_HOME": "home/.cache",
        "XDG_RUNTIME_DIR": "run",
        "APPDATA": "home/AppData/Roaming",
        "LOCALAPPDATA": "home/AppData/Local",
        "BYWAY_HOME": "data",
    }.items():
        (home / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        os.environ[name] = str(home / folder)
    # Images of containers often forbid to keep compiled files: each process that a test starts would compile Byway again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    # No test reaches the keychain of the person who runs it.
    os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"
    os.environ.pop("DBUS_SESSION_BUS_ADDRESS", None)
    # Parallel tests use all processors: several threads of a local model would wait for each other most of the time.
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.addaudithook(_watch)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Let a worker print nothing: its output goes nowhere, and the process that started it prints every result."""
    if hasattr(session.config, "workerinput"):
        session.config.pluginmanager.unregister(name="terminalreporter")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect the tests without garbage collection: all that is made stays, and each pass looks at all of it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(E2E):
            item.add_marker("e2e")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name binary parameters after their argument: workers must collect equal ids, and gzip data holds the time."""
    return argname if isinstance(val, bytes) and not (val.isascii() and val.decode().isprintable()) else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Report a test that passed once and in few words: a worker would send its start, its setup, its teardown and the names
    of all that it is part of too, at the cost of many a test."""
    if not hasattr(item.config, "workerinput"):
        return None
    for report in runtestprotocol(item, log=False, nextitem=nextitem):
        if report.when == "call" or not report.passed:
            if report.passed:
                report.keywords = {}
            item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distribute tests to workers (`-n`): a file of tests/e2e to one worker, which shares its Byway and its browser.

    `test_house.py` goes to one worker too, which parses the source once. Other tests go by function: their files share
    nothing, and a long file would keep one worker busy at the end. The order is that of the collection, so the slow files
    of tests/e2e come first.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduler(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            together = f"/{E2E.name}/" in f"/{file}" or file.endswith("/test_house.py")
            return file if together else nodeid.partition("[")[0]

        def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:
            super().add_node_collection(node, _Collection(collection))

        def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
            super().mark_test_complete(node, item_index, duration)
            # The base class counts the tests of all scopes after each test; it keeps those that are complete.
            work = self.assigned_work[node]
            scope = self._split_scope(self.registered_collections[node][item_index])
            if all(work[scope].values()):
                del work[scope]

    config.option.loadscopereorder = False
    return Scheduler(config, log)


class _Collection(list[str]):
    """The tests that a worker has collected. The scheduler looks for the place of each; a list would compare all before it."""

    def __init__(self, ids: Iterable[str]) -> None:
        super().__init__(ids)
        self._places = {id: place for place, id in enumerate(self)}

    def index(self, id: str, *_: Any) -> int:
        return self._places[id]


def pytest_unconfigure() -> None:
    _SCRATCH.cleanup()


# --- loopback only -------------------------------------------------------------------------------------------------------

_outward: list[str] = []
_started: list[str] = []


def _local(host: object) -> bool:
    if host is None or host in ("", b"", "localhost", b"localhost"):
        return True
    name = host.decode() if isinstance(host, bytes) else str(host)
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return name.endswith(".localhost")
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback or address.is_unspecified


def _refuse_connection(arguments: tuple[Any, ...]) -> None:
    address = arguments[1]
    if isinstance(address, tuple) and not _local(address[0]):
        _outward.append(f"a connection to {address[0]}:{address[1]}")
        raise ConnectionRefusedError(f"a test may not reach {address[0]}")


def _refuse_lookup(arguments: tuple[Any, ...]) -> None:
    host = arguments[0].decode() if isinstance(arguments[0], bytes) else arguments[0]
    if not _local(host):
        try:
            ipaddress.ip_address(host)
        except ValueError:
            _outward.append(f"a look-up of {host}")
            raise ConnectionRefusedError(f"a test may not look up {host}") from None


#: What is done at an audit event. Python has dozens of other events for each test, so they cost one look-up.
_WATCHED: dict[str, Callable[[tuple[Any, ...]], None]] = {
    "socket.connect": _refuse_connection,
    "socket.sendto": _refuse_connection,
    "socket.getaddrinfo": _refuse_lookup,
} | {
    event: lambda arguments, event=event: _started.append(str(arguments[0]) if arguments else event)  # type: ignore[misc]
    for event in ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn")
}


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse connections to other machines and note new processes, in any thread."""
    if event in _WATCHED:
        _WATCHED[event](arguments)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    _outward.clear()
    _started.clear()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Fail a test that tried to reach another machine, even when its code suppressed the error.

    Fail a test outside `tests/e2e` that started a process too. These are hooks, because a fixture costs each of 12,000 tests
    as much as a short test takes.
    """
    yield
    assert not _outward, f"this test tried to leave the machine: {', '.join(dict.fromkeys(_outward))}"
    assert not _started or item.path.is_relative_to(E2E), (
        f"this test started a process, so it belongs in tests/e2e: {', '.join(_started)}"
    )


# --- other programs --------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """`program("nginx")` returns the path of nginx, or skips the test with a reason that names it."""

    def find(name: str) -> str:
        path = shutil.which(name) or shutil.which(name, path=os.pathsep.join(("/usr/sbin", "/usr/local/sbin")))
        if path is None:
            pytest.skip(f"{name} is not installed")
        return path

    return find


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: pytest.TestReport = yield  # type: ignore[assignment]
    _no_skip(report, expected=hasattr(report, "wasxfail"))
    return report  # type: ignore[return-value]


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    report: pytest.CollectReport = yield  # type: ignore[assignment]
    _no_skip(report)
    return report  # type: ignore[return-value]


def _no_skip(report: pytest.TestReport | pytest.CollectReport, expected: bool = False) -> None:
    """Turn a skip into a failure that names what is missing, with BYWAY_TEST_REQUIRE=all."""
    if not STRICT or not report.skipped or expected or not isinstance(report.longrepr, tuple):
        return
    reason = str(report.longrepr[2]).removeprefix("Skipped: ")
    if not reason.startswith(ELSEWHERE):
        report.outcome = "failed"
        report.longrepr = f"BYWAY_TEST_REQUIRE=all allows no skip, and this test was skipped: {reason}"
