"""The keyring in memory and the store: changes arrive, and an old read overwrites nothing."""

from __future__ import annotations

import asyncio
import datetime
import threading
import time
from pathlib import Path

import pytest

from byway import platform
from byway.access.login import Logins
from byway.access.sync import KeySync
from byway.admin.services import AdminServices
from byway.config import Config
from byway.config.file import ConfigFile
from byway.gateway import Gateway
from byway.problems import Problem
from byway.runtime import Runtime
from byway.store import KeyRecord, LoginRecord, Store


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
                async with asyncio.timeout(60):
                    await sync.read()
                assert [key.revoked for key in runtime.stored] == [True]
            finally:
                release.set()
                await asyncio.gather(*busy)

        asyncio.run(reads())


def services(folder: Path, store: Store) -> AdminServices:
    async def reload() -> None: ...

    file = ConfigFile(folder / "byway.yaml", lambda text: Config(), store, folder)
    return AdminServices(folder, lambda: file, store, reload=reload, restart=lambda: None)


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


def test_a_login_that_is_revoked_before_the_store_was_read_again_ends(tmp_path: Path) -> None:
    with Store(tmp_path) as store, Store(tmp_path) as other:
        gateway = Gateway(Runtime(Config()), store)
        gateway.admin = admin = services(tmp_path, store)
        sync = KeySync(gateway)
        asyncio.run(sync.read())
        cookie = enter(admin)
        assert other.remove_logins("a command") == 1
        asyncio.run(sync.read())
        assert not valid(admin, cookie)


def test_a_login_that_is_made_while_the_store_is_read_does_not_end(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        gateway = Gateway(Runtime(Config()), store)
        gateway.admin = admin = services(tmp_path, store)
        account = store.add_account("ada", "ann")
        sync = KeySync(gateway)
        read = store.logins
        made: list[str] = []

        def late() -> list[LoginRecord]:
            records = read()
            made.append(admin.login.open(account, time.time(), b"n" * 16))
            record = admin.login.check(made[0], time.time())
            assert record is not None
            store.add_login(record)
            admin.login.mark_stored(record.id)
            store.logins = read  # type: ignore[method-assign]
            return records

        store.logins = late  # type: ignore[method-assign]

        async def reads() -> None:
            await sync.read()
            assert valid(admin, made[0])
            await sync.read()
            assert valid(admin, made[0])

        asyncio.run(reads())


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


def check(gateway: Gateway, key: str) -> str:
    """The id of a key that is accepted now; "" for one that is refused."""
    try:
        return gateway.runtime.keyring.check({b"x-api-key": key.encode()}, time.time()).key
    except Problem:
        return ""


def test_a_disabled_account_stops_its_keys_and_its_logins_in_a_running_byway(tmp_path: Path) -> None:
    with Store(tmp_path) as store, Store(tmp_path) as other:
        other.add_account("ada", "a command")
        made, key = other.add_key("laptop", ["write"], None, "a command", account="ada")
        gateway = Gateway(Runtime(Config(), stored=store.key_records()), store)
        sync = KeySync(gateway)
        assert check(gateway, key) == made.id
        other.disable_account("ada", "a command")
        asyncio.run(sync.read())
        assert check(gateway, key) == ""
        other.enable_account("ada", "a command")
        asyncio.run(sync.read())
        assert check(gateway, key) == made.id
        other.change_account("ada", "a command", role="viewer")
        asyncio.run(sync.read())
        caller = gateway.runtime.keyring.check({b"x-api-key": key.encode()}, time.time())
        assert (caller.role, caller.scopes) == ("viewer", ())
        other.remove_account("ada", "a command")
        asyncio.run(sync.read())
        assert check(gateway, key) == ""


def test_an_expired_key_stays_expired_when_the_clock_is_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = time.time()
    with Store(tmp_path) as store:
        expires = datetime.datetime.fromtimestamp(start + 600, datetime.UTC)
        _, key = store.add_key("laptop", ["write"], expires, "ann")
        _, forever = store.add_key("server", ["write"], None, "ann")
        gateway = Gateway(Runtime(Config(), stored=store.key_records()), store)
        clock = {"wall": start, "steady": 5000.0}
        monkeypatch.setattr(time, "time", lambda: clock["wall"])
        monkeypatch.setattr(platform, "steady_clock", lambda: clock["steady"])
        sync = KeySync(gateway)

        def accepted(wall: float, steady: float) -> bool:
            clock.update(wall=start + wall, steady=5000.0 + steady)
            sync.check_clock()
            assert check(gateway, forever)
            return bool(check(gateway, key))

        assert accepted(599, 599)
        assert not accepted(601, 601)
        assert not accepted(1, 602), "the clock was set back by ten minutes"
        assert not accepted(0, 9999)
        # The runtime of a changed config keeps it.
        gateway.runtime = Runtime(Config(), gateway.runtime)
        assert not check(gateway, key)
        # The clock is right again, and it was never too late for a key that has not expired.
        assert accepted(500, 500)
        # A clock that is set forward expires keys, until it is set right.
        assert not accepted(90_000, 510)
        assert accepted(520, 520)
