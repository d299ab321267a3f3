"""One run of a client: choose the endpoint, check it, start the client, and undo everything when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from byway import logs, platform, programs
from byway.clientfiles.folders import read_object
from byway.endpoints import running
from byway.endpoints.advice import Advice, invalid_url
from byway.endpoints.clients import ClientRecord, overlay_folder, registered
from byway.endpoints.preflight import PreflightReport, preflight
from byway.endpoints.registry import BYWAY, Endpoint, EndpointError, Endpoints, Selection
from byway.launch import target as targets
from byway.launch.clientsettings import conflict, read_settings
from byway.launch.environment import ClientEnvironment, client_environment
from byway.launch.localbyway import (
    ClientKey,
    LaunchError,
    create_key,
    revoke_key,
    revoke_left_keys,
    start_byway,
)
from byway.launch.relay import PATIENCE, Relay, RelayTarget
from byway.launch.target import LaunchTarget
from byway.tls.trust import extra_cas

#: Keys that are created for one client.
_MOST_KEYS: Final = 20
#: Commands of Claude Code that send no requests: they run as they are.
_WITHOUT_ENDPOINT: Final = ("--version", "-v", "--help", "-h", "update", "upgrade", "install")


class LaunchOptions(NamedTuple):
    """What the user asked for."""

    data: Path
    folder: Path
    endpoint: str | None = None
    """Its name, `off`, or None for the one that applies."""
    model: str = ""
    check: bool = True
    """Run the preflight."""
    dry_run: bool = False
    """Start nothing and create nothing."""
    up: tuple[str, ...] = ()
    """Options of `byway up`."""


class LaunchPlan(NamedTuple):
    """A client that is ready to start."""

    selection: Selection
    target: LaunchTarget
    report: PreflightReport | None = None
    notice: str = ""
    """What the user must keep seeing: the endpoint is not used."""
    key: ClientKey | None = None

    @property
    def model(self) -> str:
        """The model of the main conversation; empty when it is not known."""
        return self.target.variables.get("ANTHROPIC_MODEL") or (self.report.model if self.report else "")


class EndpointFailure(LaunchError):
    """The endpoint cannot be used."""

    def __init__(self, advice: Advice, report: PreflightReport | None = None) -> None:
        super().__init__(f"{advice.summary}\n{advice.action}")
        self.advice = advice
        self.report = report


#: Asks the user whether to trust a `.byway` file that names an endpoint.
Confirm = Callable[[Path, str], bool]
Report = Callable[[str], None]


def needs_no_endpoint(arguments: Sequence[str]) -> bool:
    """Whether Claude Code only prints or updates itself."""
    return bool(arguments) and arguments[0] in _WITHOUT_ENDPOINT


def plan_launch(options: LaunchOptions, environ: Mapping[str, str], confirm: Confirm, report: Report) -> LaunchPlan:
    """Choose and check the endpoint. Blocks for up to 3 seconds, longer when Byway has to start. Raises LaunchError."""
    endpoints = Endpoints(options.data, environ)
    try:
        selection = endpoints.select(options.folder, options.endpoint)
        if not selection.trusted and selection.file is not None:
            if not confirm(selection.file, selection.name):
                raise LaunchError(
                    f"{selection.file} names the endpoint {selection.name} and is not confirmed. Confirm it: "
                    f"byway endpoint use {selection.name} --folder. Or choose one: byway claude --endpoint NAME"
                )
            if not options.dry_run:
                endpoints.trust(selection.file, selection.name)
        if not selection.name:
            return LaunchPlan(selection, LaunchTarget(""), notice="Endpoints are off: Anthropic answers, not Byway")
        try:
            return _plan(options, environ, endpoints, selection, report)
        except EndpointFailure as failure:
            if not endpoints.book().fallback:
                raise
            report(f"{failure.advice.summary} {failure.advice.action}")
            notice = f"The endpoint {selection.name} failed: Anthropic answers instead"
            return LaunchPlan(selection, LaunchTarget(""), failure.report, notice)
    except EndpointError as error:
        raise LaunchError(str(error)) from None


def _plan(
    options: LaunchOptions, environ: Mapping[str, str], endpoints: Endpoints, selection: Selection, report: Report
) -> LaunchPlan:
    endpoint = endpoints.get(selection.name)
    target, key, exported = _reach(options, environ, endpoints, endpoint, report)
    try:
        result = None
        if options.check:
            result = check_target(target, options.model or requested_model(endpoint, exported), environ)
            if result.advice is not None and not (options.dry_run and endpoint.is_byway):
                raise EndpointFailure(result.advice, result)
            if result.good and not options.dry_run:
                endpoints.set_verified(endpoint.name)
    except BaseException:
        if key is not None:
            revoke_key(options.data, key.id)
        raise
    listed = result or PreflightReport(())
    if endpoint.is_byway:
        target = targets.with_byway_models(target, exported, listed, options.model)
    else:
        target = targets.with_models(target, endpoint, listed, options.model)
    return LaunchPlan(selection, target, result, key=key)


def _reach(
    options: LaunchOptions, environ: Mapping[str, str], endpoints: Endpoints, endpoint: Endpoint, report: Report
) -> tuple[LaunchTarget, ClientKey | None, dict[str, Any]]:
    """The target, the key that was made for it, and what Byway exports. Raises LaunchError."""
    cas = extra_cas(options.data, environ)
    if not endpoint.is_byway:
        check = endpoint.check()
        if check.state != "ok":
            raise EndpointFailure(invalid_url(endpoint.name, check))
        return targets.endpoint_target(endpoint, check.url, endpoints.secret(endpoint), cas), None, {}
    if options.dry_run:
        url = running.address(options.data) or running.USUAL_URL
    else:
        url = start_byway(options.data, environ, options.up, report)
        revoke_left_keys(options.data)
    exported = running.get(options.data, "/byway/exports") or {}
    key = create_key(options.data) if exported.get("key_required") and not options.dry_run else None
    return targets.byway_target(endpoint, url, exported, key.value if key else "", cas), key, exported


def requested_model(endpoint: Endpoint, exported: Mapping[str, Any]) -> str:
    """The model that the client will request, where that is known."""
    variables = exported.get("variables")
    named = variables.get("ANTHROPIC_MODEL", "") if isinstance(variables, dict) else ""
    return endpoint.model_map.get("default") or str(named)


def check_target(target: LaunchTarget, model: str, environ: Mapping[str, str]) -> PreflightReport:
    """Check an endpoint as a client would use it. `model` is what the client requests, where that is known."""
    headers = target.request_headers()
    check = preflight(
        target.name,
        target.base_url,
        headers,
        model,
        environ=environ,
        needs_login=target.keeps_login,
        extra_cas=target.extra_cas,
    )
    return asyncio.run(check)


# ------------------------------------------------------------------------------------------------------------------------


def take_settings(arguments: Sequence[str], folder: Path) -> tuple[list[str], dict[str, Any]]:
    """The arguments without the user's `--settings`, and its content: Claude Code uses only the last one (measured).

    Raises LaunchError when it cannot be read.
    """
    kept: list[str] = []
    values: dict[str, Any] = {}
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            kept += [argument, *rest]
        elif argument == "--settings":
            values = _settings(next(rest, ""), folder)
        elif argument.startswith("--settings="):
            values = _settings(argument.partition("=")[2], folder)
        else:
            kept.append(argument)
    return kept, values


def _settings(text: str, folder: Path) -> dict[str, Any]:
    if text.lstrip().startswith("{"):
        with contextlib.suppress(ValueError, RecursionError):
            values = json.loads(text)
            if isinstance(values, dict):
                return values
    elif (content := read_object(folder / platform.expand_user(text))) is not None:
        return content
    raise LaunchError("--settings must name a file with a JSON object, or be one.")


def plan_environment(
    plan: LaunchPlan, folder: Path, environ: Mapping[str, str], extra: Mapping[str, Any], relay: Relay | None = None
) -> ClientEnvironment:
    """The environment and settings file of the client. Raises LaunchError when the endpoint cannot be reached with any."""
    own = read_settings(folder, environ)
    url = relay.url if relay else plan.target.base_url
    if plan.target.name and (problem := conflict(own, environ, url)):
        raise LaunchError(problem)
    made = client_environment(
        plan.target,
        environ,
        [entry.values for entry in own if entry.level != "managed"],
        through=(relay.url, relay.token) if relay else None,
        extra=extra,
    )
    if plan.notice:
        made.overlay["statusLine"] = {"type": "command", "command": f"echo {plan.notice}"}
    return made


def client_record(plan: LaunchPlan, options: LaunchOptions, program: str, suffix: str) -> ClientRecord:
    """The record of a client that this process starts now. `suffix` is the end of the name of its file, which is new."""
    is_active = plan.selection.reason == "active"
    return ClientRecord(
        os.getpid(),
        plan.target.name,
        plan.target.base_url,
        datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        str(options.folder),
        program,
        bound=not is_active,
        keys=(plan.key.id,) if plan.key else (),
        overlay=str(overlay_folder(options.data) / f"{os.getpid()}-{secrets.token_hex(4)}{suffix}"),
        switchable=bool(plan.target.name) and is_active,
    )


def relay_target(target: LaunchTarget, endpoint: Endpoint, report: PreflightReport) -> RelayTarget:
    """The target of a relay whose client may request the models of another endpoint."""
    return RelayTarget(
        target, tuple(report.models), endpoint.model_map, report.model, resolves_claude=endpoint.is_byway
    )


#: Writes the client's file to a path, and returns the command and environment of the client.
Prepare = Callable[[Path, Relay | None], tuple[Sequence[str], Mapping[str, str]]]


def run_claude(
    plan: LaunchPlan, program: Path, arguments: Sequence[str], options: LaunchOptions, environ: Mapping[str, str]
) -> int:
    """Run Claude Code in this terminal until it ends; returns its exit code. Raises LaunchError."""
    kept, extra = take_settings(arguments, options.folder)

    def prepare(path: Path, relay: Relay | None) -> tuple[Sequence[str], Mapping[str, str]]:
        made = plan_environment(plan, options.folder, environ, extra, relay)
        write_overlay(path, json.dumps(made.overlay, indent=1))
        return [str(program), "--settings", str(path), *kept], made.environ

    return run_client(plan, program, ".settings.json", prepare, options, environ)


def write_overlay(path: Path, content: str) -> None:
    """Write the file of a client, which only this user can read. Raises OSError."""
    platform.private_folder(path.parent)
    platform.write_private(path, content.encode())


def run_client(
    plan: LaunchPlan,
    program: Path,
    suffix: str,
    prepare: Prepare,
    options: LaunchOptions,
    environ: Mapping[str, str],
) -> int:
    """Run a client in this terminal until it ends, with a relay; returns its exit code. Raises LaunchError.

    `suffix` is the end of the name of its file, which is removed afterwards.
    """
    record = client_record(plan, options, str(program), suffix)
    path = Path(record.overlay)
    follower = EndpointFollower(plan, options, environ, record)
    try:
        # A line of the log would be written into the screen of the client.
        with (
            logs.filtering(lambda level: False),
            registered(options.data, record) as follower.update,
            _relay(plan, follower, environ) as relay,
        ):
            command, variables = prepare(path, relay)
            return programs.run_in_terminal(command, variables)
    except OSError as error:
        raise LaunchError(f"Cannot start {program}: {error.strerror or error}.") from None
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        for key in follower.keys:
            revoke_key(options.data, key)


@contextlib.contextmanager
def _relay(plan: LaunchPlan, follower: EndpointFollower, environ: Mapping[str, str]) -> Iterator[Relay | None]:
    if not plan.target.name:
        yield None
        return
    follow = follower.look if plan.selection.reason == "active" else None
    relay = Relay(RelayTarget(plan.target), follow, _patience(environ), follower.renew)
    relay.start()
    try:
        yield relay
    finally:
        relay.stop()


def _patience(environ: Mapping[str, str]) -> float:
    """Seconds of silence that the user accepts: Claude Code's own setting, in milliseconds."""
    text = environ.get("API_TIMEOUT_MS", "")
    return max(1.0, int(text) / 1000) if text.isascii() and text.isdigit() and len(text) < 10 else PATIENCE


class EndpointFollower:
    """Looks whether the active endpoint has changed, and checks the new one. Its methods run in threads of the relay."""

    def __init__(
        self, plan: LaunchPlan, options: LaunchOptions, environ: Mapping[str, str], record: ClientRecord
    ) -> None:
        self.keys = list(record.keys)
        """The ids of the keys for Byway that were created for the client."""
        self.update: Callable[[ClientRecord], None] = lambda record: None
        """Replaces the record in the list of running clients."""
        self._endpoints = Endpoints(options.data, environ)
        self._options = options
        self._environ = environ
        self._stamp = self._endpoints.stamp()
        self._current = self._chosen() if plan.selection.reason == "active" else None
        self._key = plan.key
        self._record = record
        self._lock = threading.Lock()

    def look(self) -> RelayTarget | None:
        """The new endpoint once it works; None while nothing has changed."""
        stamp = self._endpoints.stamp()
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        endpoint = self._chosen()
        if endpoint == self._current:
            # The user may have returned to it.
            self._replace(switchable=True)
            return None
        if endpoint is None:
            # A running client cannot use the user's Claude login: it is stale.
            self._replace(switchable=False)
            return None
        target, exported = self._target(endpoint)
        report = check_target(target, requested_model(endpoint, exported), self._environ)
        if not report.good:
            self._replace(switchable=False)
            return None
        self._current = endpoint
        self._replace(endpoint=endpoint.name, base_url=target.base_url, switchable=True)
        return relay_target(target, endpoint, report)

    def _chosen(self) -> Endpoint | None:
        """The active endpoint without the time of its last check; None when endpoints are off."""
        name = self._endpoints.book().active
        return msgspec.structs.replace(self._endpoints.get(name), verified="") if name else None

    def renew(self) -> LaunchTarget | None:
        """Byway's address now, and a new key when it requires one. Called when it rejects the key or cannot be reached."""
        if not running.is_running(self._options.data):
            return None
        return self._target(self._endpoints.get(BYWAY), fresh=True)[0]

    def _target(self, endpoint: Endpoint, *, fresh: bool = False) -> tuple[LaunchTarget, dict[str, Any]]:
        cas = extra_cas(self._options.data, self._environ)
        if not endpoint.is_byway:
            return targets.endpoint_target(endpoint, endpoint.check().url, self._endpoints.secret(endpoint), cas), {}
        # A launcher's Byway is not started here: its text would appear in the client's screen.
        exported = running.get(self._options.data, "/byway/exports") or {}
        if exported.get("key_required") and (self._key is None or fresh) and len(self.keys) < _MOST_KEYS:
            self._key = create_key(self._options.data)
            self.keys.append(self._key.id)
            # After a kill of this process Byway revokes the keys in the record.
            self._replace()
        key = self._key
        url = running.address(self._options.data) or running.USUAL_URL
        return targets.byway_target(endpoint, url, exported, key.value if key else "", cas), exported

    def _replace(self, **changes: Any) -> None:
        with self._lock:
            changed = msgspec.structs.replace(self._record, keys=tuple(self.keys), **changes)
            if changed != self._record:
                self._record = changed
                self.update(changed)
