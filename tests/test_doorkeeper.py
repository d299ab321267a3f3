"""From the store to the door: what was read too early shuts nobody out, and lets nobody in."""

from __future__ import annotations

import asyncio
from pathlib import Path

from byway.access.sync import KeySync
from byway.config import Config
from byway.gateway import Gateway
from byway.runtime import Runtime
from byway.store import KeyRecord, Store


def test_keys_that_were_read_before_the_page_changed_them_are_not_taken(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        runtime = Runtime(Config(), stored=store.key_records())
        keeper = KeySync(Gateway(runtime, store))
        read = store.key_records

        def late() -> list[KeyRecord]:
            found = read()
            # Between this reading and its use somebody makes a key at the page, which tells the door at once.
            store.add_key("laptop", ["write"], None, "the page")
            runtime.take_keys(read())
            store.key_records = read  # type: ignore[method-assign]
            return found

        store.key_records = late  # type: ignore[method-assign]

        async def looks() -> None:
            await keeper.look()
            assert [one.name for one in runtime.stored] == ["laptop"] and runtime.keyring.blocking
            await keeper.look()
            assert [one.name for one in runtime.stored] == ["laptop"]
            store.add_key("tablet", ["write"], None, "a command")
            await keeper.look()
            assert [one.name for one in runtime.stored] == ["laptop", "tablet"]

        asyncio.run(looks())
