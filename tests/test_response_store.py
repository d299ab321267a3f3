"""Stored responses: bounds, owners, age, conversations, and how the work grows."""

from __future__ import annotations

from pathlib import Path

import pytest
from growth import assert_linear

from byway.store import responses
from byway.store.responses import ResponseStore, StoredResponse

DAY = 86_400.0
QUOTA = 1 << 20


def record(
    id: str, previous: str = "", *, owner: str = "key:a", created: float = 1e9, size: int = 10
) -> StoredResponse:
    return StoredResponse(id, owner, created, previous, b'["%b"]' % id.encode(), b"x" * size)


@pytest.fixture
def store(tmp_path: Path) -> ResponseStore:
    return ResponseStore(tmp_path)


def test_reading_creates_no_database(store: ResponseStore) -> None:
    assert store.get("key:a", "resp_1") is None and not store.remove("key:a", "resp_1") and store.clear() == 0
    assert store.used("key:a") == (0, 0) and store.conversation("key:a", "resp_1") is None
    assert not store.path.exists()


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_response_is_read_as_it_was_stored_by_its_owner_only(store: ResponseStore, size: int) -> None:
    stored = record("resp_1", size=size)
    assert store.add(stored, QUOTA, DAY)
    store.close()
    assert store.get("key:a", "resp_1") == stored
    assert store.get("key:b", "resp_1") is None and not store.remove("key:b", "resp_1")
    assert store.path.stat().st_mode & 0o77 == 0
    assert store.remove("key:a", "resp_1") and store.used("key:a") == (0, 0)


def test_a_conversation_is_the_chain_of_its_responses(store: ResponseStore) -> None:
    for at in range(4):
        store.add(record(f"resp_{at}", f"resp_{at - 1}" if at else ""), QUOTA, DAY)
    conversation = store.conversation("key:a", "resp_3")
    assert conversation is not None and [part.id for part in conversation] == ["resp_0", "resp_1", "resp_2", "resp_3"]
    store.remove("key:a", "resp_1")
    assert store.conversation("key:a", "resp_3") is None, "a part of it is missing"
    assert store.conversation("key:b", "resp_0") is None


def test_a_loop_of_responses_ends(store: ResponseStore) -> None:
    store.add(record("resp_1", "resp_1"), QUOTA, DAY)
    assert store.conversation("key:a", "resp_1") is None


def test_the_oldest_responses_of_an_owner_give_way(store: ResponseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.add(record("resp_other", owner="key:b"), 200, DAY)
    for at in range(9):
        store.add(record(f"resp_{at}", size=30), 200, DAY)
    used, count = store.used("key:a")
    assert used <= 200 and 0 < count < 9
    assert store.get("key:a", "resp_0") is None and store.get("key:a", "resp_8") is not None
    assert store.get("key:b", "resp_other") is not None
    monkeypatch.setattr(responses, "MOST_RESPONSES", 2)
    store.add(record("resp_9"), QUOTA, DAY)
    assert store.used("key:a")[1] == 2
    assert not store.add(record("resp_large", size=300), 200, DAY) and store.used("key:a")[1] == 2


def test_old_responses_are_removed(store: ResponseStore) -> None:
    store.add(record("resp_old", created=1e9), QUOTA, 30 * DAY)
    store.add(record("resp_new", owner="key:b", created=1e9 + 31 * DAY), QUOTA, 30 * DAY)
    assert store.get("key:a", "resp_old") is None and store.used("key:a") == (0, 0)


def test_an_id_is_stored_once(store: ResponseStore) -> None:
    assert store.add(record("resp_1"), QUOTA, DAY) and not store.add(record("resp_1", owner="key:b"), QUOTA, DAY)
    assert store.clear() == 1


def test_reading_a_conversation_grows_with_its_length(tmp_path: Path) -> None:
    made: list[ResponseStore] = []

    def conversation(length: int) -> tuple[ResponseStore, str]:
        folder = tmp_path / str(length)
        folder.mkdir(exist_ok=True)
        store = ResponseStore(folder)
        made.append(store)
        if store.get("key:a", f"resp_{length - 1}") is None:
            with store._database.change():
                for at in range(length):
                    store.add(record(f"resp_{at}", f"resp_{at - 1}" if at else "", size=200), 1 << 30, DAY)
        return store, f"resp_{length - 1}"

    def read(value: tuple[ResponseStore, str]) -> None:
        assert value[0].conversation("key:a", value[1]) is not None

    assert_linear(conversation, read, 50, bound=900)
    for store in made:
        store.close()
