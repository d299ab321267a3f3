"""PDFs in requests: their text, the cache of texts, and requests that wait for them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from casefile import CASES, Case, Reply, Turn
from growth import assert_linear
from hypothesis import given, settings
from hypothesis import strategies as st
from papers import HEAVY, InProcess, encoded, pdf
from properties import examples
from test_line import Network, ask

from byway.messages import request as messages
from byway.messages.pdf import embedded_pdfs
from byway.parsing import pdf as module
from byway.parsing.cache import PdfCache
from byway.parsing.job import Parsed, ParseJob
from byway.parsing.pdf import parse_base64, parse_pdf
from byway.pipeline import resolve

ANSWER = json.dumps(
    {"choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 9}}
).encode()


def document(data: str) -> dict[str, Any]:
    return {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": data}}


def turn(*files: bytes) -> Turn:
    content = [*(document(encoded(file)) for file in files), {"type": "text", "text": "So?"}]
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": content}]}
    return Turn(json.dumps(body).encode(), replies=[Reply(200, {}, ANSWER)])


def send(*files: bytes) -> Any:
    """One request with these PDFs through the gateway: status, headers, body."""
    request = turn(*files)
    case = Case(CASES / "openai" / "a_pdf_is_sent_as_its_text_page_by_page.case", "", {}, [request])
    return ask(case, request, Network(request.replies))


# ---------------------------------------------------------------------------------------------------------------- parser


def test_text_of_each_page_follows_its_number() -> None:
    parsed = parse_pdf(pdf("One", "", "Three"))
    assert parsed.pages == 3 and not parsed.problem
    assert parsed.text == "[page 1]\nOne\n\n[page 2]\n\n[page 3]\nThree"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"no base64!", "its data is not base64"),
        (b"\xff\xfe", "its data is not base64"),
        (encoded(b"junk" * 100).encode(), "it is broken, or no PDF at all"),
        (encoded(pdf("a")[:200]).encode(), "it is broken, or no PDF at all"),
    ],
)
def test_file_that_cannot_be_parsed_has_a_problem(data: bytes, problem: str) -> None:
    assert parse_base64(data).problem == problem


def test_base64_may_contain_line_breaks() -> None:
    data = encoded(pdf("Hello"))
    assert parse_base64("\n".join(data[at : at + 76] for at in range(0, len(data), 76)).encode()).text.endswith("Hello")


def test_page_over_the_operation_limit_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_PAGE_OPERATIONS", 10_000)
    parsed = parse_pdf(pdf("first", HEAVY, "last"))
    assert parsed.pages == 3 and "first" in parsed.text and "last" in parsed.text
    assert "(this page could not be read)" in parsed.text


def test_long_file_ends_with_the_pages_that_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_PAGES", 2)
    assert parse_pdf(pdf("a", "b", "c", "d")).text.endswith(
        "[the pages from 3 to 4 are left out: the file is too long]"
    )


@settings(max_examples=examples(60), deadline=None)
@given(st.data())
def test_no_file_breaks_the_parser(data: st.DataObject) -> None:
    whole = bytearray(pdf("One", "Two"))
    for _ in range(data.draw(st.integers(0, 12))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    parsed = parse_pdf(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    assert parsed.problem or parsed.pages >= 0
    parsed.text.encode()


# ------------------------------------------------------------------------------------------------------ PDFs of a request


def turns(*contents: Any, role: str = "user") -> Any:
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": role, "content": content} for content in contents]}
    return messages.parse(json.dumps(body).encode(), {}, "msg_1").turns


def test_pdfs_are_found_in_documents_results_and_server_blocks() -> None:
    inside = {"type": "tool_result", "tool_use_id": "t", "content": [document("bbb=")]}
    part = {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "x"}]}}
    fetched = {
        "type": "web_fetch_tool_result",
        "tool_use_id": "t",
        "content": {"type": "web_fetch_result", "url": "https://a.b", "content": document("ccc=")},
    }
    content = [document("aaa="), inside, part, fetched, document("aaa=")]
    assert sorted(embedded_pdfs(turns("text", content))) == ["aaa=", "bbb=", "ccc="]


def test_backend_with_files_needs_the_text_of_server_blocks_only() -> None:
    fetched = {"type": "web_fetch_tool_result", "tool_use_id": "t", "content": document("ccc=")}
    assert embedded_pdfs(turns([document("aaa="), fetched]), files=True) == ["ccc="]
    assert embedded_pdfs(turns([document("aaa=")], role="assistant"), files=True) == ["aaa="]


def test_media_type_written_with_escapes_is_found() -> None:
    raw = (
        '{"type":"web_fetch_tool_result","tool_use_id":"t","content":{"media_type":"application/\\u0070df","data":"x"}}'
    )
    body = f'{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":[{raw}]}}]}}'
    assert embedded_pdfs(messages.parse(body.encode(), {}, "msg_1").turns) == ["x"]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "tool_result", "tool_use_id": "t", "content": [document("aaa=")]},
        {"type": "web_fetch_tool_result", "tool_use_id": "t", "content": document("ccc=")},
        {"type": "text", "text": "x"},
    ],
    ids=["results", "server blocks", "texts"],
)
def test_looking_for_pdfs_is_linear(block: dict[str, Any]) -> None:
    # A request has 32 MiB at most: 300,000 results. To make more takes longer than to look at them.
    assert_linear(lambda size: turns([block] * size), embedded_pdfs, 1 << 13, bound=300_000)


def test_request_with_too_many_pdfs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "_MAX_PDFS", 2)
    status, _, body = asyncio.run(send(pdf("a"), pdf("b"), pdf("c")))
    assert status == 400 and b"Send fewer of them" in body


def test_request_with_too_much_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "_MAX_CHARACTERS", 30)
    status, _, body = asyncio.run(send(pdf("a" * 20), pdf("b" * 20)))
    assert status == 400 and b"Send fewer of them" in body


# ----------------------------------------------------------------------------------------------------------------- cache


def texts(cache: PdfCache, *files: str) -> Any:
    return cache.texts(files, 1000)


def test_same_file_is_parsed_once() -> None:
    async def go() -> None:
        pool = InProcess()
        cache = PdfCache(pool)
        for _ in range(2):
            assert (await texts(cache, encoded(pdf("Hello"))))[encoded(pdf("Hello"))].text == "[page 1]\nHello"
        assert pool.started == 1

    asyncio.run(go())


def test_problem_is_remembered_like_a_text() -> None:
    async def go() -> None:
        pool = InProcess()
        cache = PdfCache(pool)
        for _ in range(2):
            assert (await texts(cache, "!"))["!"].problem == "its data is not base64"
        assert pool.started == 1

    asyncio.run(go())


def test_requests_that_wait_for_the_same_file_parse_it_once() -> None:
    async def go() -> None:
        pool = InProcess(1)
        cache = PdfCache(pool)
        await asyncio.gather(*(texts(cache, encoded(pdf("Hello"))) for _ in range(5)))
        assert pool.started == 1

    asyncio.run(go())


@pytest.mark.parametrize("limit", [{"max_files": 2}, {"max_characters": 30}])
def test_least_recently_used_text_is_forgotten_first(limit: dict[str, int]) -> None:
    async def go() -> None:
        pool = InProcess()
        cache = PdfCache(pool, **limit)
        files = [encoded(pdf(f"file {at}")) for at in range(3)]
        await texts(cache, files[0], files[1], files[0], files[2])
        assert pool.started == 3
        await texts(cache, files[0], files[2])
        assert pool.started == 3
        await texts(cache, files[1])
        assert pool.started == 4

    asyncio.run(go())


def test_request_without_pdfs_is_answered_while_another_waits_for_its_pdf(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        parsed = asyncio.Event()

        async def wait(self: InProcess, job: ParseJob, data: bytes) -> Parsed:
            await parsed.wait()
            return Parsed("text", pages=1)

        monkeypatch.setattr(InProcess, "run", wait)
        waiting = asyncio.create_task(send(pdf("Slow")))
        assert (await send())[0] == 200
        assert not waiting.done()
        parsed.set()
        assert (await waiting)[0] == 200

    asyncio.run(go())


@pytest.mark.parametrize("place", ["message", "result"])
def test_only_a_request_with_a_document_or_a_file_is_decoded_block_by_block(place: str) -> None:
    def request(block: dict[str, Any]) -> messages.Request:
        content = [block] if place == "message" else [{"type": "tool_result", "tool_use_id": "x", "content": [block]}]
        body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": content}]}
        return messages.parse(json.dumps(body).encode(), {}, "msg_1")

    pdf = {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}
    document, image = (
        {"type": "document", "source": pdf},
        {"type": "image", "source": {**pdf, "media_type": "image/png"}},
    )
    # Only a loose request is searched for references to uploaded files.
    assert request({"type": "image", "source": {"type": "file", "file_id": "file_1"}}).loose
    assert request({"type": "container_upload", "file_id": "file_1"}).loose
    assert request(document).loose and request(document).content.documents
    assert not request(image).loose and not request(image).content.documents
    assert embedded_pdfs(request(document).turns) == ["AAAA"] and embedded_pdfs(request(image).turns) == []
