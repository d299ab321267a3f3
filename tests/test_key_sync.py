"""The keyring in memory and the store: changes arrive, and an old read overwrites nothing."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from byway.access.login import Logins
from byway.access.sync import KeySync
from byway.admin.services import AdminServices
from byway.config import Config
from byway.config.file import ConfigFile
from byway.gateway import Gateway
from byway.problems import Problem
from byway.runtime import Runtime
from byway.store import KeyRecord, Store


def test_keys_read_before_the_page_changed_them_are_not_taken_over(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        runtime = Runtime(Config(), stored=store.key_records())
        sync = KeySync(Gateway(runtime, store))
        read = store.key_records

        def late() -> list[KeyRecord]:
            records = read()
            # Between this read and its use the page creates a key, and gives it to the runtime at once.
            store.add_key("laptop", ["write"], None, "the page")
            runtime.take_keys(read())
            store.key_records = read  # type: ignore[method-assign]
            return records

        store.key_records = late  # type: ignore[method-assign]

        async def reads() -> None:
            await sync.read()
            assert [key.name for key in runtime.stored] == ["laptop"] and runtime.keyring.blocking
            await sync.read()
            assert [key.name for key in runtime.stored] == ["laptop"]
            store.add_key("tablet", ["write"], None, "a command")
            await sync.read()
            assert [key.name for key in runtime.stored] == ["laptop", "tablet"]

        asyncio.run(reads())


def test_a_revoked_key_is_noticed_while_all_threads_of_the_pool_are_busy(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        made, _ = store.add_key("laptop", ["write"], None, "ann")
        runtime = Runtime(Config(), stored=store.key_records())
        sync = KeySync(Gateway(runtime, store))
        release = threading.Event()

        async def reads() -> None:
            busy = [asyncio.create_task(asyncio.to_thread(release.wait)) for _ in range(100)]
            await asyncio.sleep(0)
            store.revoke_key(made.id, "ann")
            try:
                async with asyncio.timeout(20):
                    await sync.read()
                assert [key.revoked for key in runtime.stored] == [True]
            finally:
                release.set()
                await asyncio.gather(*busy)

        asyncio.run(reads())


def services(folder: Path, store: Store) -> AdminServices:
    async def reload() -> None: ...

    file = ConfigFile(folder / "byway.yaml", lambda text: Config(), store, folder)
    return AdminServices(folder, file, store, reload=reload, restart=lambda: None)


def enter(admin: AdminServices, agent: str = "") -> str:
    cookie = asyncio.run(admin.logins.enter(admin.logins.link(), agent))
    assert cookie is not None
    return cookie


def valid(admin: AdminServices, cookie: str) -> bool:
    return admin.login.check(cookie, time.time()) is not None


def test_logins_are_listed_and_revoked_one_by_one_and_all_together(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        admin = services(tmp_path, store)
        first, second, third = (enter(admin, agent) for agent in ("Firefox", "Chrome", "Safari"))
        listed = admin.logins.current()
        assert sorted(login.browser for login in listed) == ["Chrome", "Firefox", "Safari"]
        chrome = next(login for login in listed if login.browser == "Chrome")
        assert asyncio.run(admin.logins.revoke(chrome.id, "ann")) == chrome
        with pytest.raises(Problem, match="There is no login"):
            asyncio.run(admin.logins.revoke(chrome.id, "ann"))
        assert [valid(admin, cookie) for cookie in (first, second, third)] == [True, False, True]
        asyncio.run(admin.logins.logout(third))
        assert [valid(admin, cookie) for cookie in (first, second, third)] == [True, False, False]
        fourth = enter(admin)
        assert asyncio.run(admin.logins.revoke_all("ann")) == 2
        assert (
            not any(valid(admin, cookie) for cookie in (first, second, third, fourth)) and admin.logins.current() == []
        )
        assert [entry.what for entry in store.audit_entries()].count("login revoked") == 2


def test_logins_outlast_a_restart_unless_they_were_revoked(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        admin = services(tmp_path, store)
        kept, revoked = enter(admin), enter(admin)
        asyncio.run(admin.logins.logout(revoked))
    with Store(tmp_path) as store:
        admin = services(tmp_path, store)
        assert valid(admin, kept) and not valid(admin, revoked)


def test_a_login_that_another_process_revokes_ends_in_the_running_one(tmp_path: Path) -> None:
    with Store(tmp_path) as store, Store(tmp_path) as other:
        gateway = Gateway(Runtime(Config()), store)
        gateway.admin = admin = services(tmp_path, store)
        sync = KeySync(gateway)
        first, second = enter(admin), enter(admin)
        asyncio.run(sync.read())
        assert valid(admin, first) and valid(admin, second)
        other.remove_login(admin.login.check(first, time.time()).id, "a command")  # type: ignore[union-attr]
        asyncio.run(sync.read())
        assert not valid(admin, first) and valid(admin, second)
        assert other.remove_logins("a command") == 1
        asyncio.run(sync.read())
        assert not valid(admin, second)


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o660])
def test_a_signing_key_that_others_could_read_is_replaced_and_ends_every_login(tmp_path: Path, mode: int) -> None:
    with Store(tmp_path) as store:
        cookie = enter(services(tmp_path, store))
        path = tmp_path / "login.key"
        known = path.read_bytes()
        path.chmod(mode)
        admin = services(tmp_path, store)
        assert path.read_bytes() != known and path.stat().st_mode & 0o777 == 0o600
        assert not valid(admin, cookie)
        stolen = Logins(known).link(time.time(), b"n" * 16)
        assert asyncio.run(admin.logins.enter(stolen)) is None


def test_a_signing_key_behind_a_symbolic_link_is_replaced(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"k" * 32)
    elsewhere.chmod(0o600)
    data = tmp_path / "data"
    data.mkdir(0o700)
    (data / "login.key").symlink_to(elsewhere)
    with Store(data) as store:
        services(data, store)
    assert not (data / "login.key").is_symlink() and elsewhere.read_bytes() == b"k" * 32
    assert (data / "login.key").read_bytes() != b"k" * 32
