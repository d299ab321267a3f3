"""`byway page`: prints a new login link of the running Byway."""

from __future__ import annotations

import http.client
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

from beside import command
from gateway import Gateway, config
from scripted import Scripted

from byway.access.login import COOKIE


def enter(url: str, **headers: str) -> tuple[int, str, str]:
    """Status, cookie and body of what a link answers."""
    at = urlsplit(url)
    connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=60)
    connection.request(
        "GET", f"{at.path}?{at.query}", headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, answer.getheader("set-cookie") or "", body


def test_each_link_opens_the_page_once() -> None:
    with Scripted([]) as server, Gateway(config(server)) as gateway:
        first, second = command(gateway, "page"), json.loads(command(gateway, "page", "--json").stdout)
        url = first.stdout.strip()
        assert (first.returncode, first.stderr) == (0, "") and url.startswith(f"{gateway.url}/login?token=")
        assert second["seconds"] == 900 and second["url"] != url
        status, cookie, _ = enter(url)
        assert status == 303 and cookie.startswith(f"{COOKIE}_") and "SameSite=Strict" in cookie
        assert enter(url)[0] == 401
        assert enter(second["url"])[0] == 303
        forged = re.sub(r"token=\d+", "token=9999999999", command(gateway, "page").stdout.strip())
        assert enter(forged)[0] == 401


def test_a_link_on_a_page_of_another_site_redirects_by_itself() -> None:
    with Scripted([]) as server, Gateway(config(server, server={"root_path": "/by"})) as gateway:
        status, cookie, body = enter(command(gateway, "page").stdout.strip(), sec_fetch_site="cross-site")
    assert status == 200 and cookie.startswith(f"{COOKIE}_")
    assert 'content="0; url=/by/"' in body, "a redirect would carry no cookie that is Strict"


def test_open_starts_the_browser_without_the_link_in_its_arguments() -> None:
    with Scripted([]) as server, Gateway(config(server)) as gateway:
        browser = gateway.home / "browser"
        browser.write_text(f'#!/bin/sh\necho "$@" > {gateway.home}/opened\n')
        browser.chmod(0o755)
        done = command(gateway, "page", "--open", BROWSER=f"{browser} %s")
        assert done.returncode == 0, done.stderr
        url = done.stdout.strip()
        gateway.wait((gateway.home / "opened").exists, what="the browser starts")
        gateway.wait((gateway.home / "opened").read_text, what="it is told what to open")
        opened = (gateway.home / "opened").read_text().strip()
        door = Path(urlsplit(opened).path)
        assert opened.startswith("file://") and "token" not in opened
        assert door.stat().st_mode & 0o777 == 0o600 and f"url={url}" in door.read_text()
        browser.write_text("#!/bin/sh\nexit 1\n")
        failed = command(gateway, "page", "--open", BROWSER=f"{browser} %s")
        assert (
            failed.returncode == 1
            and "No browser could be started" in failed.stderr
            and failed.stdout.startswith(gateway.url)
        )


def test_without_a_tcp_address_there_is_no_page() -> None:
    with Scripted([]) as server, Gateway(config(server)) as gateway:
        (gateway.home / "data" / "address").write_text("")
        done = command(gateway, "page")
        assert done.returncode == 1 and "unix socket only" in done.stderr and "server.bind_address" in done.stderr
        (gateway.home / "data" / "address").write_text(gateway.url)
        (gateway.home / "data" / "login.key").write_bytes(b"short")
        done = command(gateway, "page")
        assert done.returncode == 1 and "Restart Byway" in done.stderr
