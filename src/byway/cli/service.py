"""`byway service`: starts Byway at login."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from byway import platform, programs
from byway.cli.options import DATA_DIR, JSON, data_folder
from byway.cli.output import Failure, note, print_json

if TYPE_CHECKING:
    from byway.launch.service import ServiceFile

#: Seconds for a command of the system.
_LIMIT: Final = 30.0


@click.group()
def command() -> None:
    """Start Byway at login, so that clients find it after a restart of the machine.

    Uses a systemd user unit on Linux, a launchd agent on macOS, and a task of the Task Scheduler on Windows.
    """


@command.command()
@click.option("--config", "config", metavar="FILE", help="The config file. [default: that of `byway up`]")
@click.option("--dry-run", is_flag=True, help="Print the file and the commands, and change nothing.")
@DATA_DIR
def install(config: str | None, dry_run: bool, folder: str | None) -> None:
    """Install the service, and start Byway now."""
    from byway.endpoints import running

    data = data_folder(folder)
    service = _service(data, config)
    if dry_run:
        click.echo(f"{service.path}\n\n{_text(service)}")
        for words in service.install:
            click.echo(f"Run: {' '.join(words)}")
        return
    path = Path(service.path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        platform.write_private(path, service.content)
    except OSError as error:
        raise Failure(f"Cannot write {path}: {error.strerror or error}.") from None
    # A Byway that was started in another way has the lock of the data folder, so a second one would end at once.
    other_runs = running.is_running(data) and bool(_run(service.status))
    results = [_run(words) for words in (service.install[:-1] if other_runs else service.install)]
    if service.link is not None and not Path(service.link).is_symlink():
        # Without a running systemd of the user, enabling is this link.
        with contextlib.suppress(OSError):
            Path(service.link).parent.mkdir(parents=True, exist_ok=True)
            Path(service.link).symlink_to(path)
    click.echo(f"Installed: {path}")
    if other_runs:
        note("A Byway that you started is running. The service starts at your next login.")
    elif results[-1]:
        note(f"The system could not start it now ({results[-1]}). It starts at your next login. Until then: byway up")
    else:
        click.echo("Byway is running, and starts at each login.")


@command.command()
@DATA_DIR
def remove(folder: str | None) -> None:
    """Stop Byway, and do not start it at login any more."""
    service = _service(data_folder(folder), None)
    path = Path(service.path)
    was_there = path.exists()
    for words in service.remove if was_there else ():
        _run(words)
    with contextlib.suppress(FileNotFoundError):
        if service.link is not None:
            Path(service.link).unlink()
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise Failure(f"Cannot remove {path}: {error.strerror or error}.") from None
    for words in service.reload if was_there else ():
        _run(words)
    click.echo(f"Removed: {path}" if was_there else "The service is not installed.")


@command.command()
@DATA_DIR
@JSON
def status(folder: str | None, as_json: bool) -> None:
    """Show whether the service is installed, whether it is up to date, and whether Byway runs."""
    from byway.endpoints import running

    data = data_folder(folder)
    service = _service(data, None)
    path = Path(service.path)
    installed = path.is_file()
    is_running = running.is_running(data)
    as_service = installed and not _run(service.status)
    if as_json:
        print_json({"installed": installed, "file": path, "running": is_running, "running_as_service": as_service})
        return
    click.echo(f"Service:  {'installed' if installed else 'not installed'} ({path})")
    state = "running as a service" if as_service else "running, started in another way" if is_running else "not running"
    click.echo(f"Byway:    {state}")


def is_installed(data: Path) -> bool:
    """Whether Byway starts at login."""
    return Path(_service(data, None).path).is_file()


def _service(data: Path, config: str | None) -> ServiceFile:
    from byway.launch.service import ServicePlaces, service_file

    home = platform.expand_user("~")
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    words = [sys.executable, "-m", "byway", "up", "--data-dir", str(data)]
    if config:
        words += ["--config", str(Path(config).absolute())]
    return service_file(platform.system(), words, ServicePlaces(home, folder, data.absolute(), programs.user_number()))


def _text(service: ServiceFile) -> str:
    return service.content.decode("utf-16" if service.content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8")


def _run(words: Sequence[str]) -> str:
    """Run a command of the system; returns why it failed, or nothing."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=_LIMIT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{words[0]}: {getattr(error, 'strerror', '') or 'no answer'}"
    lines = (done.stderr or done.stdout).strip().splitlines()
    return "" if done.returncode == 0 else lines[-1] if lines else f"{words[0]} failed"
