"""Files with the official SDKs of Anthropic and OpenAI, through a real Byway with SQLite and a disk."""

from __future__ import annotations

import base64
import http.client
import json
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import anthropic
import openai
import pytest
from beside import command
from e2e.claude import Claude
from gateway import Gateway, config
from papers import pdf
from scripted import Say, Scripted

from byway.platform import resident_memory

pytestmark = pytest.mark.real

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
KEYS = [{"key": f"sk-files-{name}-0123456789", "id": name} for name in ("alice", "bob")]
BETA = "files-api-2025-04-14"


class Stage(NamedTuple):
    """A Byway with a chat backend (model `chat`) and a Messages backend (model `messages`), and clients with two keys."""

    gateway: Gateway
    chat: Scripted
    messages: Scripted
    alice: anthropic.Anthropic
    bob: anthropic.Anthropic
    openai: openai.OpenAI
    """Alice's."""

    def stored(self) -> list[bytes]:
        """The content of each file of the storage."""
        folder = self.gateway.home / "data" / "files"
        return sorted(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Scripted(lambda request: Say("ok")) as chat, Scripted(lambda request: Say("ok")) as messages:
        settings = config(chat, messages, api_keys={"api_keys": KEYS})
        settings["backends"][1]["type"] = "anthropic"
        settings["backends"][1]["local"] = True
        settings["model_aliases"] = {"chat": ["one/local"], "messages": ["two/local"]}
        settings["files"] = {"quota": "6MiB", "max_file_size": "4MiB"}
        with Gateway(settings) as gateway:
            alice, bob = (
                anthropic.Anthropic(base_url=f"{gateway.url}{path}", api_key=key["key"], max_retries=0)
                for key, path in zip(KEYS, ("/anthropic", ""), strict=True)
            )
            client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEYS[0]["key"], max_retries=0)
            with alice, bob, client:
                yield Stage(gateway, chat, messages, alice, bob, client)


def test_the_anthropic_sdk_uploads_lists_downloads_and_deletes(stage: Stage) -> None:
    uploaded = stage.alice.files.upload(file=("notes.md", b"# Notes", "text/markdown"), expires_in_seconds=3600)
    assert (uploaded.type, uploaded.filename, uploaded.mime_type) == ("file", "notes.md", "text/markdown")
    assert uploaded.size_bytes == 7 and uploaded.downloadable and not uploaded.model_extra
    assert uploaded.expires_at is not None and (uploaded.expires_at - uploaded.created_at).total_seconds() == 3600
    assert stage.alice.files.retrieve_metadata(uploaded.id) == uploaded
    others = [stage.alice.files.upload(file=(f"{name}.txt", name.encode())) for name in ("a", "b", "c")]
    listed = list(stage.alice.files.list(limit=2))
    assert [file.id for file in listed[:4]] == [file.id for file in (*reversed(others), uploaded)]
    some = stage.alice.files.list(ids=[others[0].id, "file_unknown", uploaded.id])
    assert [file.id for file in some.data] == [others[0].id, uploaded.id] and some.next_page is None
    assert stage.alice.files.download(uploaded.id).read() == b"# Notes"
    for file in (uploaded, *others):
        deleted = stage.alice.files.delete(file.id)
        assert (deleted.id, deleted.type) == (file.id, "file_deleted")
    assert b"# Notes" not in stage.stored()
    with pytest.raises(anthropic.NotFoundError, match="does not exist"):
        stage.alice.files.retrieve_metadata(uploaded.id)


def test_the_beta_resource_and_the_older_pages_work_too(stage: Stage) -> None:
    ids = [stage.alice.beta.files.upload(file=(f"{at}.txt", b"x"), betas=[BETA]).id for at in range(3)]
    assert [file.id for file in stage.alice.beta.files.list(limit=1)][:3] == ids[::-1]
    headers = {"x-api-key": KEYS[0]["key"], "anthropic-version": "2023-06-01", "anthropic-beta": BETA}
    newest = stage.gateway.get("/v1/files?beta=true&limit=1", headers).json
    assert newest["last_id"] == ids[2] and newest["has_more"]
    older = stage.gateway.get(f"/v1/files?limit=1&after_id={ids[2]}", headers).json
    assert older["first_id"] == ids[1]
    newer = stage.gateway.get(f"/v1/files?limit=1&before_id={ids[0]}", headers).json
    assert newer["first_id"] == ids[1] and newer["has_more"]
    for id in ids:
        stage.alice.beta.files.delete(id)


def test_the_openai_sdk_uploads_lists_downloads_and_deletes(stage: Stage) -> None:
    client = stage.openai
    first = client.files.create(file=("lines.jsonl", b'{"custom_id":"1"}\n'), purpose="batch")
    second = client.files.create(
        file=("a.txt", b"text"), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 7200}
    )
    assert (first.object, first.bytes, first.purpose, first.status) == ("file", 18, "batch", "processed")
    assert first.id.startswith("file-") and not first.model_extra
    assert first.expires_at == first.created_at + 30 * 86400 and second.expires_at == second.created_at + 7200
    assert [file.id for file in client.files.list()][:2] == [second.id, first.id]
    assert [file.id for file in client.files.list(order="asc", limit=1)][-2:] == [first.id, second.id]
    assert [file.id for file in client.files.list(purpose="batch")] == [first.id]
    assert client.files.retrieve(first.id) == first
    assert client.files.content(first.id).read() == b'{"custom_id":"1"}\n'
    # One storage: each API sees the files of the other.
    assert stage.alice.files.retrieve_metadata(first.id).filename == "lines.jsonl"
    for file in (first, second):
        assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.files.content(first.id)


@pytest.mark.parametrize("seconds", [0, 3599, 2592001, 10**17, 10**30, -1])
def test_an_expiry_that_openai_refuses_is_refused(stage: Stage, seconds: int) -> None:
    with pytest.raises(openai.BadRequestError, match="from 3600 to 2592000"):
        stage.openai.files.create(
            file=b"x", purpose="user_data", expires_after={"anchor": "created_at", "seconds": seconds}
        )


def test_files_of_another_key_do_not_exist(stage: Stage) -> None:
    id = stage.alice.files.upload(file=("secret.txt", b"secret of alice")).id
    content: Any = [{"type": "document", "source": {"type": "file", "file_id": id}}]
    uses: list[Any] = [
        lambda: stage.bob.files.retrieve_metadata(id),
        lambda: stage.bob.files.download(id),
        lambda: stage.bob.files.delete(id),
        lambda: stage.bob.files.list(limit=10, extra_query={"after_id": id}),
        lambda: stage.bob.messages.create(model="chat", max_tokens=5, messages=[{"role": "user", "content": content}]),
    ]
    for use in uses:
        with pytest.raises(anthropic.NotFoundError, match="does not exist"):
            use()
    assert id not in [file.id for file in stage.bob.files.list()]
    assert list(stage.bob.files.list(ids=[id])) == []
    stage.alice.files.delete(id)


def test_a_download_runs_nothing_in_a_browser(stage: Stage) -> None:
    file = stage.alice.files.upload(file=('a"ü\r\n.html', b"<script>alert(1)</script>", "text/html"))
    answer = stage.gateway.get(f"/v1/files/{file.id}/content", {"x-api-key": KEYS[0]["key"]})
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''a%22%C3%BC.html"
    assert (
        answer.headers["x-content-type-options"] == "nosniff" and "sandbox" in answer.headers["content-security-policy"]
    )
    stage.alice.files.delete(file.id)


def test_a_purpose_is_kept_whatever_header_has_the_key(stage: Stage) -> None:
    """curl with the form of OpenAI's API and `x-api-key`."""
    field = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    file = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{}\r\n--b--\r\n'
    headers = {"x-api-key": KEYS[0]["key"], "content-type": "multipart/form-data; boundary=b"}
    answer = stage.gateway.ask("POST", "/v1/files", field + file, headers)
    assert (answer.status, answer.json["object"], answer.json["purpose"]) == (200, "file", "batch")
    assert answer.json["expires_at"] is not None
    official = stage.gateway.ask("POST", "/v1/files", field + file, {**headers, "anthropic-version": "2023-06-01"})
    assert (official.status, official.json["type"]) == (200, "file")
    for id in (answer.json["id"], official.json["id"]):
        stage.openai.files.delete(id)


def test_uploads_that_are_wrong_get_a_clear_error(stage: Stage) -> None:
    client = stage.alice
    with pytest.raises(anthropic.BadRequestError, match="declared as image/png"):
        client.files.upload(file=("a.png", b"<html>", "image/png"))
    with pytest.raises(anthropic.BadRequestError, match="empty"):
        client.files.upload(file=("a.txt", b""))
    with pytest.raises(anthropic.BadRequestError, match="expires_in_seconds"):
        client.files.upload(file=b"x", expires_in_seconds=5)
    with pytest.raises(openai.BadRequestError, match="purpose"):
        stage.openai.files.create(file=b"x", purpose="nonsense")  # type: ignore[arg-type]
    with pytest.raises(anthropic.APIStatusError, match="4 MiB") as caught:
        client.files.upload(file=b"x" * (5 << 20))
    assert caught.value.status_code == 413
    headers = {"x-api-key": KEYS[0]["key"], "content-type": "multipart/form-data; boundary=b"}
    no_file = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nx\r\n--b--\r\n'
    half = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf a fi'
    for body, more, status in (
        (no_file, {}, 400),
        (half, {}, 400),
        (half, {"content-type": "application/json"}, 400),
        (half, {"content-encoding": "gzip"}, 415),
    ):
        answer = stage.gateway.ask("POST", "/v1/files", body, {**headers, **more})
        assert answer.status == status and answer.json["error"]["message"], answer.body
    assert list(client.files.list()) == [] and stage.stored() == []


def test_the_quota_ends_an_upload_without_a_length(stage: Stage) -> None:
    """A chunked body does not declare its size: the bytes are counted as they arrive."""
    kept = stage.alice.files.upload(file=("kept.bin", b"\0" * (3 << 20)))
    with socket.create_connection(("127.0.0.1", stage.gateway.port), timeout=60) as client:
        head = (
            f"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nx-api-key: {KEYS[0]['key']}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        client.sendall(head.encode())
        part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
        client.sendall(b"%x\r\n%b\r\n" % (len(part), part))
        piece = b"%x\r\n%b\r\n" % (65536, b"\0" * 65536)
        sent = 0
        while not select.select([client], [], [], 0)[0]:
            client.sendall(piece)
            sent += 1
            assert sent < 1000, "the upload is not refused"
        answer = b""
        while b"\r\n\r\n" not in answer and (data := client.recv(65536)):
            answer += data
    assert b" 403 " in answer.split(b"\r\n")[0]
    stage.gateway.wait(
        lambda: [len(data) for data in stage.stored()] == [3 << 20], what="the incomplete file is removed"
    )
    stage.alice.files.delete(kept.id)


def test_a_client_that_disconnects_leaves_nothing(stage: Stage) -> None:
    with socket.create_connection(("127.0.0.1", stage.gateway.port), timeout=60) as client:
        head = (
            f"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nx-api-key: {KEYS[0]['key']}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 3000000\r\n\r\n"
            '--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
        )
        client.sendall(head.encode() + b"x" * 1_000_000)
        stage.gateway.wait(stage.stored, what="the upload has begun")
    stage.gateway.wait(lambda: not stage.stored(), what="the incomplete file is removed")
    assert list(stage.alice.files.list()) == []


# ----------------------------------------------------------------------------------------------------------- files in requests


@pytest.fixture(scope="module")
def files(stage: Stage) -> Iterator[dict[str, str]]:
    """The ids of one file of each type."""
    contents = {
        "png": ("dot.png", PNG),
        "pdf": ("paper.pdf", pdf("the meaning is 42")),
        "text": ("notes.md", "naïve notes".encode()),
        "zip": ("a.zip", b"PK\x03\x04 no model reads this"),
    }
    ids = {name: stage.alice.files.upload(file=file).id for name, file in contents.items()}
    yield ids
    for id in ids.values():
        stage.alice.files.delete(id)


def send(stage: Stage, model: str, blocks: list[Any]) -> Any:
    """The content of the user message that the backend gets for these blocks."""
    server = {"chat": stage.chat, "messages": stage.messages}[model]
    stage.alice.messages.create(model=model, max_tokens=5, messages=[{"role": "user", "content": blocks}])
    return server.last.json["messages"][-1]["content"]


def test_files_reach_a_messages_backend_as_content(stage: Stage, files: dict[str, str]) -> None:
    blocks = [
        {"type": "image", "source": {"type": "file", "file_id": files["png"]}},
        {"type": "document", "source": {"type": "file", "file_id": files["pdf"]}, "title": "A paper"},
        {"type": "document", "source": {"type": "file", "file_id": files["text"]}},
        {"type": "container_upload", "file_id": files["text"]},
        {"type": "container_upload", "file_id": files["zip"]},
        {"type": "text", "text": f'{{"file_id": "{files["png"]}"}}'},
    ]
    image, paper, notes, uploaded, archive, text = send(stage, "messages", blocks)
    assert base64.b64decode(image["source"]["data"]) == PNG and image["source"]["media_type"] == "image/png"
    assert paper["title"] == "A paper" and paper["source"]["media_type"] == "application/pdf"
    assert notes["source"] == {"type": "text", "media_type": "text/plain", "data": "naïve notes"}
    assert uploaded["title"] == "notes.md" and uploaded["source"] == notes["source"]
    assert archive["type"] == "text" and "a.zip" in archive["text"] and "not readable" in archive["text"]
    assert text["text"] == f'{{"file_id": "{files["png"]}"}}'


def test_files_reach_a_chat_backend_as_content(stage: Stage, files: dict[str, str]) -> None:
    blocks = [
        {"type": "image", "source": {"type": "file", "file_id": files["png"]}},
        {"type": "document", "source": {"type": "file", "file_id": files["pdf"]}},
        {"type": "document", "source": {"type": "file", "file_id": files["text"]}},
    ]
    content = send(stage, "chat", blocks)
    whole = str(content)
    assert f"data:image/png;base64,{base64.b64encode(PNG).decode()}" in whole
    assert "the meaning is 42" in whole and "naïve notes" in whole


def test_a_file_in_the_result_of_a_tool_is_resolved_and_one_in_its_input_is_not(
    stage: Stage, files: dict[str, str]
) -> None:
    reference = {"type": "image", "source": {"type": "file", "file_id": files["png"]}}
    messages: Any = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "look", "input": reference}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [reference]}]},
    ]
    stage.alice.messages.create(model="messages", max_tokens=5, messages=messages)
    _, call, result = stage.messages.last.json["messages"]
    assert call["content"][0]["input"] == reference
    assert result["content"][0]["content"][0]["source"]["type"] == "base64"


def test_tokens_of_files_are_counted(stage: Stage, files: dict[str, str]) -> None:
    def count(blocks: Any) -> int:
        return stage.alice.messages.count_tokens(
            model="chat", messages=[{"role": "user", "content": blocks}]
        ).input_tokens

    document = {"type": "document", "source": {"type": "file", "file_id": files["text"]}}
    assert count([document, document]) > count([document])


@pytest.mark.parametrize("model", ["chat", "messages"])
def test_file_parts_of_chat_completions_are_resolved(stage: Stage, files: dict[str, str], model: str) -> None:
    parts: Any = [
        {"type": "image_file", "image_file": {"file_id": files["png"], "detail": "low"}},
        {"type": "file", "file": {"file_id": files["pdf"]}},
        {"type": "file", "file": {"file_id": files["text"]}},
        {"type": "file", "file": {"file_id": files["png"]}},
    ]
    stage.openai.chat.completions.create(model=model, messages=[{"role": "user", "content": parts}], max_tokens=5)
    server = {"chat": stage.chat, "messages": stage.messages}[model]
    image, paper, text, second = server.last.json["messages"][-1]["content"]
    data = base64.b64encode(PNG).decode()
    if model == "chat":
        assert image == {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}", "detail": "low"}}
        assert paper["file"]["filename"] == "paper.pdf" and paper["file"]["file_data"].startswith(
            "data:application/pdf;"
        )
        assert second["image_url"]["url"] == f"data:image/png;base64,{data}"
    else:
        assert image["source"]["data"] == data and paper["source"]["media_type"] == "application/pdf"
    assert text == {"type": "text", "text": "notes.md\n\nnaïve notes"}


def test_references_that_cannot_be_resolved_name_the_place_and_the_next_step(
    stage: Stage, files: dict[str, str]
) -> None:
    def refused(block: dict[str, Any]) -> anthropic.APIStatusError:
        with pytest.raises(anthropic.APIStatusError) as caught:
            send(stage, "chat", [{"type": "text", "text": "x"}, block])
        return caught.value

    unknown = refused({"type": "image", "source": {"type": "file", "file_id": "file_unknown"}})
    assert unknown.status_code == 404 and "messages.0.content.1.source.file_id" in unknown.message
    wrong = refused({"type": "image", "source": {"type": "file", "file_id": files["pdf"]}})
    assert wrong.status_code == 400 and "document block" in wrong.message
    wrong = refused({"type": "document", "source": {"type": "file", "file_id": files["png"]}})
    assert wrong.status_code == 400 and "image block" in wrong.message
    wrong = refused({"type": "document", "source": {"type": "file", "file_id": files["zip"]}})
    assert wrong.status_code == 400 and "Convert it" in wrong.message
    with pytest.raises(openai.NotFoundError, match=r"messages\.0\.content\.0\.file\.file_id"):
        stage.openai.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-x"}}]}]
        )


def test_a_request_whose_files_are_too_large_is_refused(stage: Stage) -> None:
    id = stage.alice.files.upload(file=("big.txt", b"word " * 600_000)).id
    block = {"type": "document", "source": {"type": "file", "file_id": id}}
    with pytest.raises(anthropic.APIStatusError, match="32 MiB") as caught:
        send(stage, "messages", [block] * 12)
    assert caught.value.status_code == 413
    stage.alice.files.delete(id)


# -------------------------------------------------------------------------------------------------------- the operator's side


def test_the_operator_lists_and_deletes_files_by_command(stage: Stage) -> None:
    none = command(stage.gateway, "files", "list", "--owner", "key:bob")
    assert (none.returncode, none.stdout) == (0, "") and "No files" in none.stderr
    file = stage.bob.files.upload(file=("report\u202e.txt", b"of bob"), expires_in_seconds=3600)
    listed = command(stage.gateway, "files", "list", "--owner", "key:bob")
    head, row = listed.stdout.splitlines()
    assert head.split() == ["ID", "OWNER", "SIZE", "TYPE", "UPLOADED", "EXPIRES", "NAME"]
    assert row.split()[:5] == [file.id, "key:bob", "6", "bytes", "text/plain"] and row.endswith("report.txt")
    page = json.loads(command(stage.gateway, "files", "list", "--json").stdout)
    assert {"owner": "key:bob", "files": 1, "bytes": 6} in page["owners"] and page["problem"] == ""
    deleted = command(stage.gateway, "files", "delete", file.id)
    assert deleted.stdout == f"Deleted {file.id} (report.txt, 6 bytes).\n"
    assert b"of bob" not in stage.stored() and list(stage.bob.files.list()) == []
    again = command(stage.gateway, "files", "delete", file.id)
    assert again.returncode == 2 and "There is no file" in again.stderr
    audit = json.loads(command(stage.gateway, "requests", "--json").stdout)
    assert "of bob" not in json.dumps(audit)
    assert stage.gateway.get("/readyz").json["files"] == "good"


def test_files_are_disabled_by_a_reload(stage: Stage) -> None:
    settings = json.loads(stage.gateway.file.read_text())
    before = {**settings, "files": {**settings["files"]}}
    try:
        stage.gateway.write({**settings, "files": {"enabled": False}})
        headers = {"x-api-key": KEYS[0]["key"]}
        stage.gateway.wait(lambda: stage.gateway.get("/v1/files", headers).status == 404, what="files are disabled")
        assert "files.enabled" in stage.gateway.get("/v1/files", headers).json["error"]["message"]
        block = {"type": "document", "source": {"type": "file", "file_id": "file_x"}}
        with pytest.raises(anthropic.BadRequestError, match="disabled"):
            send(stage, "chat", [block])
    finally:
        stage.gateway.write(before)
        stage.gateway.wait(lambda: stage.gateway.get("/v1/files", headers).status == 200, what="files are enabled")


# --------------------------------------------------------------------------------------------------------------- Claude Code


def test_claude_code_downloads_files_at_its_start(stage: Stage, tmp_path: Path) -> None:
    file = stage.alice.files.upload(file=("notes.txt", b"notes for Claude Code"))
    key = KEYS[0]["key"]
    claude = Claude(tmp_path, stage.gateway.url, ANTHROPIC_API_KEY=key, CLAUDE_CODE_SESSION_ACCESS_TOKEN=key)
    turn = claude.ask("hi", "--model", "chat", "--file", f"{file.id}:notes.txt")
    assert turn.text == "ok"
    [saved] = claude.work.rglob("notes.txt")
    assert saved.read_bytes() == b"notes for Claude Code" and saved.parent.name == "uploads"
    stage.alice.files.delete(file.id)


def test_the_upload_form_of_claude_code_is_accepted(stage: Stage) -> None:
    """Its bytes, of version 2.1.329. It uploads to api.anthropic.com only, with a login there, so the client is not run."""
    headers = {
        "authorization": f"Bearer {KEYS[0]['key']}",
        "anthropic-version": "2023-06-01",
        "anthropic-beta": f"oauth-2025-04-20,{BETA}",
        "content-type": "multipart/form-data; boundary=----FormBoundary0b1",
    }
    body = (
        b'------FormBoundary0b1\r\nContent-Disposition: form-data; name="file"; filename="a%22b.bundle"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n# v2 git bundle\n\0\1\r\n"
        b'------FormBoundary0b1\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
        b'------FormBoundary0b1\r\nContent-Disposition: form-data; name="expires_in_seconds"\r\n\r\n86400\r\n'
        b"------FormBoundary0b1--\r\n"
    )
    answer = stage.gateway.ask("POST", "/anthropic/v1/files", body, headers)
    assert answer.status == 200 and answer.json["filename"] == 'a"b.bundle' and answer.json["size_bytes"] == 18
    assert stage.gateway.ask("DELETE", f"/anthropic/v1/files/{answer.json['id']}", None, headers).status == 200


@pytest.mark.long
def test_an_upload_of_500_mib_is_never_in_memory() -> None:
    size, piece = 500 << 20, b"\0" * (1 << 20)
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    tail = b"\r\n--b--\r\n"
    with Scripted() as server, Gateway(config(server)) as gateway:
        headers = {
            "anthropic-version": "2026-10-21",
            "content-type": "multipart/form-data; boundary=b",
            "content-length": str(len(head) + size + len(tail)),
        }
        gateway.get("/v1/models")
        before = resident_memory(gateway.process.pid)
        assert before is not None
        peaks = []

        def body() -> Iterator[bytes]:
            yield head
            for number in range(size // len(piece)):
                yield piece
                if number % 50 == 0:
                    # Others are answered meanwhile.
                    assert gateway.get("/livez").status == 200
                    peaks.append(resident_memory(gateway.process.pid) or 0)
            yield tail

        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=600)
        connection.request("POST", "/v1/files", body(), headers)
        answer = json.loads(connection.getresponse().read())
        assert answer["size_bytes"] == size
        connection.request("GET", f"/v1/files/{answer['id']}/content", headers={"anthropic-version": "2026-10-21"})
        response, received = connection.getresponse(), 0
        while data := response.read(1 << 20):
            received += len(data)
            if received % (50 << 20) < 1 << 20:
                peaks.append(resident_memory(gateway.process.pid) or 0)
        connection.close()
        assert received == size
        assert max(peaks) - before < 48 << 20, [peak - before >> 20 for peak in peaks]


def test_a_stop_does_not_wait_for_a_bucket_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as bucket:
        # It accepts connections and answers nothing. The client would wait for minutes.
        url = f"http://127.0.0.1:{bucket.getsockname()[1]}"
        access = {"access_key_id": "key", "secret_access_key": "secret-0123456789", "region": "local"}
        files = {"storage": "s3", "s3": {"bucket": "b", "url": url, **access}}
        with Gateway({"backends": [], "files": files, "timeouts": {"drain": 1}}) as gateway:
            bucket.settimeout(60)
            part = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.txt"\r\n\r\nhello\r\n--x--\r\n'
            headers = {"content-type": "multipart/form-data; boundary=x", "anthropic-beta": BETA}
            client = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
            client.request("POST", "/v1/files", part, headers)
            with bucket.accept()[0] as waiting:
                assert waiting.recv(1)
                assert gateway.stop(60) == 0
                assert "its requests are abandoned" in gateway.text
            client.close()
