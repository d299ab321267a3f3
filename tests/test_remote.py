"""How other machines reach Byway: URLs, login links, and when browsers and keys were last used."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest
from pages import Pages

from byway.access.login import SEEN_SECONDS, Logins
from byway.access.sync import KeySync
from byway.admin import keys, remote
from byway.admin.logins import PageLogins
from byway.admin.remote import browser_name
from byway.store import FILE_NAME, LoginRecord, Store
from byway.store.schema import MIGRATIONS
from byway.tls import names


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 "
            "Edg/140.0.0.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.0 "
            "Mobile/15E148 Safari/604.1",
            "Safari on iPhone",
        ),
        (
            "Mozilla/5.0 (Linux; Android 16; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36",
            "Chrome on Android",
        ),
        ("curl/8.5.0", "curl"),
        ("", "unknown browser"),
        ("my-tool 1", "my-tool 1"),
    ],
)
def test_a_browser_has_a_short_name(agent: str, name: str) -> None:
    assert browser_name(agent) == name


def test_a_byway_on_loopback_is_not_reachable_and_has_a_tunnel(tmp_path: Path) -> None:
    pages = Pages(tmp_path)
    access = remote.remote_access(pages.services, pages.gateway.runtime.config, encrypted=False)
    assert (access.reachable, access.urls) == (False, ()) and access.tunnel.startswith("ssh -L 38080:127.0.0.1:38080 ")
    assert "Other machines cannot reach" in pages.post("/remote/link", {}).text
    assert pages.call("POST", "/byway/remote/links", "{}", {"content-type": "application/json"}).status == 400
    pages.close()


def test_urls_of_a_wide_byway_name_its_addresses_and_its_public_url_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "_machine_addresses", lambda: ["fd00::2", "192.168.1.20", "127.0.0.1"])
    pages = Pages(tmp_path, "server: {public_url: 'https://byway.example.org', allowed_hosts: [byway.lan]}\n")
    pages.services.addresses = ("0.0.0.0:38080", "unix:/x")
    access = remote.remote_access(pages.services, pages.gateway.runtime.config, encrypted=False)
    assert access.urls[0] == "https://byway.example.org" and access.encrypted
    assert access.urls[1:3] == ("http://192.168.1.20:38080", "http://[fd00::2]:38080")
    assert "http://byway.lan:38080" in access.urls
    assert not any("127.0.0.1" in url or "[::1]" in url or "0.0.0.0" in url for url in access.urls)
    pages.close()


def test_a_link_logs_in_once_as_the_owner_or_as_an_account(tmp_path: Path) -> None:
    pages = Pages(tmp_path, "server: {public_url: 'https://byway.example.org'}\n")
    pages.store.add_account("ada", "test", role="member")
    sent = pages.post("/remote/link", {"account": "ada", "url": "https://evil.example.org"})
    assert "https://byway.example.org/login?code=" in sent.text and "evil" not in sent.text
    assert '<svg class="qr"' in sent.html and "Logs in ada" in sent.text
    token = pages.post("/remote/link", {}).text.partition("/login?token=")[2].partition(" ")[0]
    first = pages.get(f"/login?token={token}", cookie=False)
    assert first.status == 303 and "set-cookie" in first.headers
    assert pages.get(f"/login?token={token}", cookie=False).status == 401
    assert pages.post("/remote/link", {"account": "nobody-here"}).status == 422
    pages.close()


def test_the_last_request_of_a_login_is_recorded_once_a_minute(tmp_path: Path) -> None:
    logins = Logins(b"s" * 32, 0)
    now = 1_000_000.0
    cookie = logins.enter(logins.link(now, b"n" * 16), now, b"m" * 16, "Firefox")
    assert cookie is not None
    assert logins.caller(cookie, now + 1) is not None
    (id,) = logins.take_unsaved()
    logins.caller(cookie, now + 30)
    assert logins.take_unsaved() == {}
    logins.caller(cookie, now + 2 + SEEN_SECONDS)
    assert logins.take_unsaved() == {id: now + 2 + SEEN_SECONDS}
    assert logins.current(now + 100)[0].seen == now + 2 + SEEN_SECONDS
    with Store(tmp_path) as store:
        store.add_login(LoginRecord(id, b"d", time.time(), time.time() + 600, "Firefox"))
        store.record_logins_seen({id: 5.0, "unknown": 9.0})
        store.record_logins_seen({id: 4.0})
        assert [record.seen for record in store.logins()] == [5.0]


def test_the_store_keeps_when_a_browser_was_last_seen(tmp_path: Path) -> None:
    pages = Pages(tmp_path)
    assert pages.get("/remote").status == 200
    asyncio.run(KeySync(pages.gateway).write())
    (login,) = PageLogins(tmp_path, pages.store).current()
    assert login.seen_at is not None and abs(login.seen_at.timestamp() - time.time()) < 600
    pages.close()


def test_a_key_has_the_name_of_who_created_it_also_one_from_before(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        keys.create_key(store, "new", ["read"], "", "ada, byway key")
        assert [key.created_by for key in keys.list_keys(store)] == ["ada, byway key"]
    # As an earlier version has left it: without the columns of the last migration.
    with sqlite3.connect(tmp_path / FILE_NAME) as database:
        database.execute("ALTER TABLE keys DROP COLUMN made_by")
        database.execute("ALTER TABLE logins DROP COLUMN seen")
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS) - 1}")
    database.close()
    with Store(tmp_path) as store:
        assert [key.created_by for key in keys.list_keys(store)] == ["ada, byway key"]
