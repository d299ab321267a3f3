"""An endpoint as one generation of a hosted agent uses it: checked, behind a relay, with a settings file of its own."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from byway.endpoints.clients import HOST, ClientRecord
from byway.endpoints.preflight import PreflightReport
from byway.endpoints.registry import EndpointError, Endpoints
from byway.launch.environment import ClientEnvironment
from byway.launch.localbyway import LaunchError, revoke_key
from byway.launch.relay import PATIENCE, Relay
from byway.launch.session import (
    EndpointFollower,
    LaunchOptions,
    LaunchPlan,
    client_record,
    plan_environment,
    plan_launch,
    relay_target,
    write_overlay,
)


class HostRoute:
    """A checked endpoint with its relay. `close` ends the relay, revokes the key and removes the file."""

    def __init__(self, plan: LaunchPlan, options: LaunchOptions, environ: Mapping[str, str]) -> None:
        """Raises LaunchError when no environment leads to the endpoint. Blocks."""
        self.plan = plan
        self.name = plan.target.name
        self.record = client_record(plan, options, HOST, ".settings.json")
        self.file = Path(self.record.overlay)
        """The settings file; its path is among the arguments of the client, which identifies its process."""
        self._options = options
        self._follower = EndpointFollower(plan, options, environ, self.record)
        endpoint = Endpoints(options.data, environ).get(self.name)
        self._target = relay_target(plan.target, endpoint, plan.report or PreflightReport(()))
        self.relay = Relay(self._target, None, PATIENCE, self._follower.renew)
        self._owns_relay = True
        self.relay.start()
        try:
            self.environment: ClientEnvironment = plan_environment(plan, options.folder, environ, {}, self.relay)
            write_overlay(self.file, json.dumps(self.environment.overlay, indent=1))
        except BaseException:
            self.close()
            raise

    def registered(self, update: Callable[[ClientRecord], None]) -> None:
        """Keep the record of the client complete: a renewed key has to be revoked even after a kill."""
        self._follower.update = update
        update(self.record)

    @property
    def permission_mode(self) -> str:
        """The mode that works with the models of the endpoint; empty: the user's own."""
        permissions = self.environment.overlay.get("permissions")
        return str(permissions.get("defaultMode") or "") if isinstance(permissions, dict) else ""

    def adopt(self, before: HostRoute) -> None:
        """Take over the relay and the file of the route that a running process uses. Blocks."""
        self._end()
        self.relay, self.file = before.relay, before.file
        before._owns_relay = False
        self.record = msgspec.structs.replace(self.record, overlay=before.record.overlay)
        self.relay.retarget(self._target, self._follower.renew)

    def _end(self) -> None:
        self.relay.stop()
        with contextlib.suppress(OSError):
            self.file.unlink(missing_ok=True)

    def close(self) -> None:
        """End the relay, revoke its keys and remove the file. Blocks."""
        if self._owns_relay:
            self._end()
        for key in self._follower.keys:
            revoke_key(self._options.data, key)


def open_route(options: LaunchOptions, environ: Mapping[str, str], report: Callable[[str], None]) -> HostRoute:
    """Check an endpoint and open a route to it. Blocks for some seconds. Raises LaunchError; nothing is left then."""
    plan = plan_launch(options, environ, lambda file, name: False, report)
    if not plan.target.name:
        raise LaunchError("Endpoints are off, and a host needs one. Choose one: byway endpoint use NAME")
    try:
        return HostRoute(plan, options, environ)
    except EndpointError as error:
        raise LaunchError(str(error)) from None
    except OSError as error:
        raise LaunchError(f"Cannot prepare the client: {error.strerror or error}.") from None
