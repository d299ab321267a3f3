"""PDFs in a request: what is read of them, how often, and that nobody waits for another's."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from casefile import CASES, Case, Reply, Turn
from hypothesis import given, settings
from hypothesis import strategies as st
from papers import encoded, pdf
from test_line import Network, ask

from byway.messages import pdf as module
from byway.messages.pdf import Unread, pages, read, remember

ANSWER = json.dumps(
    {"choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 9}}
).encode()


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_remembered", type(module._remembered)())


def turn(*files: bytes) -> Turn:
    sources = [{"type": "base64", "media_type": "application/pdf", "data": encoded(file)} for file in files]
    content: list[dict[str, Any]] = [{"type": "document", "source": source} for source in sources]
    content.append({"type": "text", "text": "So?"})
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": content}]}
    return Turn(json.dumps(body).encode(), replies=[Reply(200, {}, ANSWER)])


def test_each_page_is_its_text_behind_its_number() -> None:
    found = read(pdf("One", "", "Three"))
    assert found.total == 3 and not found.flaw
    assert found.text == "[page 1]\nOne\n\n[page 2]\n\n[page 3]\nThree"


def test_a_file_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(pdf("Hello"))
    with pytest.raises(Unread) as unread:
        pages(data)
    remember(unread.value, unread.value.read())
    monkeypatch.setattr(module, "read", None)
    assert pages(data).text == "[page 1]\nHello"


def test_what_is_remembered_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_REMEMBERED", 2)
    files = [encoded(pdf(f"file {at}")) for at in range(3)]
    for data in (files[0], files[1], files[0], files[2]):
        try:
            pages(data)
        except Unread as unread:
            remember(unread, unread.read())
    assert pages(files[0]).text and pages(files[2]).text
    with pytest.raises(Unread):
        pages(files[1])


@pytest.mark.parametrize(
    ("data", "flaw"),
    [
        ("no base64!", "its data is not base64"),
        (encoded(b"junk" * 100), "it is broken, or no PDF at all"),
        (encoded(pdf("a")[:200]), "it is broken, or no PDF at all"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(data: str, flaw: str) -> None:
    with pytest.raises(Unread) as unread:
        pages(data)
    assert unread.value.read().flaw == flaw


def test_a_page_that_never_ends_is_left_and_the_others_are_read() -> None:
    endless = b"q Q " * 400_000
    found = read(pdf("first", endless, "last"))
    assert found.total == 3 and "first" in found.text and "last" in found.text
    assert "(this page could not be read)" in found.text


def test_a_long_file_ends_with_a_word_on_what_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_PAGES", 2)
    assert read(pdf("a", "b", "c", "d")).text.endswith("[the pages from 3 to 4 are left out: the file is too long]")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_file_breaks_the_reader(data: st.DataObject) -> None:
    whole = bytearray(pdf("One", "Two"))
    for _ in range(data.draw(st.integers(0, 12))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    found = read(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    assert found.flaw or found.total >= 0
    found.text.encode()


def test_others_are_answered_while_a_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(data: bytes) -> Any:
        time.sleep(0.4)
        return read(data)

    monkeypatch.setattr(module.Unread, "read", lambda self: slow(pdf("Slow")))

    async def both() -> list[str]:
        done: list[str] = []

        async def one(name: str, *files: bytes) -> None:
            await asyncio.sleep(0 if files else 0.05)
            asked = turn(*files)
            status, _, _ = await ask(
                Case(CASES / "openai" / "a_pdf.case", "", {}, [asked]), asked, Network(asked.replies)
            )
            assert status == 200
            done.append(name)

        await asyncio.gather(one("with a file", pdf("Slow")), one("without"))
        return done

    assert asyncio.run(both()) == ["without", "with a file"]


def test_files_with_more_text_than_is_remembered_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_REMEMBERED", 2)
    asked = turn(pdf("a"), pdf("b"), pdf("c"))
    status, _, body = asyncio.run(
        ask(Case(CASES / "openai" / "a_pdf.case", "", {}, [asked]), asked, Network(asked.replies))
    )
    assert status == 400 and b"Send fewer of them" in body
