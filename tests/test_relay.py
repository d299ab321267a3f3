"""The relay between a client and its endpoint: credentials, errors by layer, a changed endpoint, cancelled requests."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from endpointserver import serving
from waiting import wait_until

from byway.access.keys import REFUSAL
from byway.launch.relay import Follow, Relay, RelayTarget
from byway.launch.target import LaunchTarget

BODY = {"model": "claude-opus-5-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
JSON = "application/json"


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for another endpoint often."""
    monkeypatch.setattr("byway.launch.relay._POLL", 0.02)


@contextmanager
def relaying(target: LaunchTarget, follow: Follow | None = None) -> Iterator[Relay]:
    relay = Relay(RelayTarget(target), follow)
    relay.start()
    try:
        yield relay
    finally:
        relay.stop()


def send(relay: Relay, path: str = "/v1/messages?beta=true", **headers: str) -> tuple[int, dict[str, str], str]:
    """Send a message as a client of this relay, with `headers` added."""
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(relay.url).port, timeout=60)
    own = {"content-type": JSON, "authorization": f"Bearer {relay.token}"}
    try:
        connection.request(
            "POST", path, json.dumps(BODY), own | {name.replace("_", "-"): text for name, text in headers.items()}
        )
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()
    finally:
        connection.close()


def message(text: str) -> str:
    return str(json.loads(text)["error"]["message"])


def test_every_credential_of_the_client_is_replaced_by_the_endpoints() -> None:
    with serving() as server:
        target = LaunchTarget("lab", server.url, "api_key", "sk-lab", {"x-team": "blue"})
        with relaying(target) as relay:
            leaks = {"x_api_key": "sk-ant-leak", "cookie": "leak", "proxy_authorization": "leak", "x_team": "leak"}
            status, headers, text = send(relay, anthropic_beta="some-beta", x_claude_code_session_id="s1", **leaks)
    assert (status, headers["content-type"]) == (200, "text/event-stream") and "Hello from A" in text
    seen = server.seen[0]
    assert seen.credentials == {"x-api-key": "sk-lab"} and seen.headers["x-team"] == "blue"
    assert "leak" not in str(seen.headers) and relay.token not in str(seen.headers)
    # Everything else arrives as it was sent.
    assert seen.path == "/v1/messages?beta=true" and seen.body == BODY
    assert (seen.headers["anthropic-beta"], seen.headers["x-claude-code-session-id"]) == ("some-beta", "s1")


def test_a_program_without_the_secret_of_the_relay_is_refused() -> None:
    with serving() as server, relaying(LaunchTarget("lab", server.url)) as relay:
        for value in ("", "Bearer ", "Bearer byway-local", relay.token[:-1]):
            assert send(relay, authorization=value)[0] == 401
    assert not server.seen


def test_a_byway_that_forwards_logins_gets_the_login_beside_its_key() -> None:
    with serving() as server:
        target = LaunchTarget("byway", server.url, "auth_token", "sk-byway-1", keeps_login=True)
        with relaying(target) as relay:
            login = {"authorization": "Bearer sk-ant-oat01-own", "x_byway_key": relay.token, "cookie": "leak"}
            assert send(relay, **login)[0] == 200
            assert send(relay, authorization="", x_api_key="sk-ant-own", x_byway_key=relay.token)[0] == 200
            # A client that was started without a login has only the secret of the relay, which stays here.
            send(relay)
            assert send(relay, authorization="Bearer sk-ant-oat01-own", x_byway_key="guess")[0] == 401
    seen = [{**request.credentials, "key": request.headers["x-byway-key"]} for request in server.seen]
    key = {"key": "sk-byway-1"}
    assert seen[0] == {"authorization": "Bearer sk-ant-oat01-own", **key}
    assert seen[1]["x-api-key"] == "sk-ant-own" and seen[2:] == [key]
    assert relay.token not in str([request.headers for request in server.seen])


def test_another_endpoint_gets_neither_the_login_nor_the_secret_of_the_relay() -> None:
    with serving() as server, relaying(LaunchTarget("lab", server.url, "api_key", "sk-lab")) as relay:
        assert send(relay, authorization="Bearer sk-ant-oat01-own", x_byway_key=relay.token)[0] == 200
    assert server.seen[0].credentials == {"x-api-key": "sk-lab"} and "x-byway-key" not in server.seen[0].headers


def test_the_refusal_of_a_login_reaches_the_client_so_that_it_renews_it() -> None:
    text = json.dumps({"error": {"type": "authentication_error", "message": "Log in again"}})
    renewed: list[int] = []

    def renew() -> LaunchTarget | None:
        renewed.append(1)
        return None

    with serving(answer=(401, JSON, text)) as server:
        target = LaunchTarget("byway", server.url, "auth_token", "sk-byway-1", keeps_login=True)
        relay = Relay(RelayTarget(target), renew=renew)
        relay.start()
        try:
            assert send(relay, authorization="Bearer own", x_byway_key=relay.token)[::2] == (401, text)
            assert renewed == []
            # A refused key of Byway is not the client's: Byway gets a new one, and the client no proposal to log in.
            server.answer = (401, JSON, json.dumps({"error": {"message": REFUSAL}}))
            assert send(relay, authorization="Bearer own", x_byway_key=relay.token)[0] == 424
        finally:
            relay.stop()
    assert renewed == [1]


def test_a_placeholder_is_sent_where_the_endpoint_needs_no_key() -> None:
    with serving() as server, relaying(LaunchTarget("lab", server.url)) as relay:
        send(relay)
    assert server.seen[0].credentials == {"authorization": "Bearer byway-local"}


@pytest.mark.parametrize(
    ("answer", "status", "text"),
    [
        ((401, JSON, '{"error":{"message":"invalid x-api-key"}}'), 424, "rejected the key"),
        ((403, JSON, '{"error":{"message":"no"}}'), 424, "forbids"),
        ((404, JSON, '{"error":{"message":"model: x not found"}}'), 424, "does not serve"),
        ((404, JSON, '{"detail":"Not Found"}'), 424, "no Messages API"),
        ((400, JSON, '{"error":"No models loaded. Use `lms load`."}'), 400, "no model loaded"),
        ((429, JSON, '{"error":{"message":"slow down"}}'), 429, "limits the rate"),
        ((500, JSON, '{"error":{"message":"boom"}}'), 500, "status 500"),
        ((529, JSON, '{"error":{"message":"boom"}}'), 529, "status 529"),
        ((200, "text/html", "<!doctype html><title>Sign in</title>"), 424, "web page"),
        ((502, "text/html", "<html>bad gateway</html>"), 502, "web page"),
    ],
)
def test_an_error_names_endpoint_layer_action_and_raw_text(
    answer: tuple[int, str, str], status: int, text: str
) -> None:
    with serving(answer=answer) as server, relaying(LaunchTarget("lab", server.url)) as relay:
        got, headers, body = send(relay)
    assert got == status and text in message(body)
    assert f"The endpoint lab ({server.url})" in message(body)
    assert answer[2].replace("x-api-key", "API key header") in message(body)
    # The client must not retry for three minutes what cannot succeed.
    assert (headers.get("x-should-retry") == "false") == (status == 424 or "model" in text)


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens > 5 maximum"}}',
        '{"type":"error","error":{"type":"invalid_request_error","message":"capability_rejected: image_block"}}',
    ],
)
def test_a_refusal_from_which_the_client_recovers_is_not_changed(text: str) -> None:
    with serving(answer=(400, JSON, text)) as server, relaying(LaunchTarget("lab", server.url)) as relay:
        assert send(relay)[::2] == (400, text)


def test_errors_of_byway_are_not_changed() -> None:
    text = '{"type":"error","error":{"type":"not_found_error","message":"Alias it"}}'
    with serving(answer=(404, JSON, text)) as server, relaying(LaunchTarget("byway", server.url)) as relay:
        assert send(relay)[::2] == (404, text)


def test_a_401_of_byway_is_shown_without_a_login() -> None:
    refusal = (401, JSON, '{"error":{"message":"no key"}}')
    with serving(answer=refusal) as server, relaying(LaunchTarget("byway", server.url)) as relay:
        status, _, body = send(relay)
    assert status == 424 and "byway key create" in message(body)


@pytest.mark.parametrize("failure", ["rejects the key", "has another address"])
def test_byway_gets_the_request_again_when_its_key_or_address_has_changed(failure: str) -> None:
    with serving(name="new") as now, serving(answer=(401, JSON, "{}")) as old, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = old.url if "key" in failure else f"http://127.0.0.1:{unused.getsockname()[1]}"
        renewed: list[int] = []

        def renew() -> LaunchTarget:
            renewed.append(1)
            return LaunchTarget("byway", now.url, "auth_token", "new-key")

        relay = Relay(RelayTarget(LaunchTarget("byway", url, "auth_token", "old-key")), renew=renew)
        relay.start()
        try:
            assert "Hello from new" in send(relay)[2] and "Hello from new" in send(relay)[2]
        finally:
            relay.stop()
    assert renewed == [1] and now.seen[0].credentials == {"authorization": "Bearer new-key"}


def test_a_request_is_renewed_once(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(answer=(401, JSON, '{"error":{"message":"no key"}}')) as server:
        target = LaunchTarget("byway", server.url)
        relay = Relay(RelayTarget(target), renew=lambda: target)
        relay.start()
        try:
            assert send(relay)[0] == 424
        finally:
            relay.stop()
    assert len(server.messages) == 2 and capsys.readouterr() == ("", "")


def test_a_refused_connection_is_explained() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with relaying(LaunchTarget("lab", f"http://127.0.0.1:{unused.getsockname()[1]}")) as relay:
            status, _, body = send(relay)
    assert status == 502 and "refused the connection" in message(body) and "Start the server" in message(body)


def test_a_silent_endpoint_is_explained() -> None:
    with serving(silent=True) as server:
        relay = Relay(RelayTarget(LaunchTarget("lab", server.url)), patience=0.15)
        relay.start()
        try:
            status, _, body = send(relay)
        finally:
            relay.stop()
    assert status == 504 and "does not answer in time" in message(body) and "API_TIMEOUT_MS" in message(body)


def test_a_changed_endpoint_gets_the_next_request_with_a_model_that_it_serves() -> None:
    with serving() as first, serving(name="B") as second:
        changes: list[RelayTarget] = []
        taken = threading.Event()

        def follow() -> RelayTarget | None:
            if not changes:
                return None
            taken.set()
            return changes.pop()

        with relaying(LaunchTarget("a", first.url, "api_key", "sk-a"), follow) as relay:
            assert "Hello from A" in send(relay)[2]
            changes.append(
                RelayTarget(
                    LaunchTarget("b", second.url, "auth_token", "sk-b"), ("qwen", "tiny"), {"opus": "tiny"}, "qwen"
                )
            )
            assert taken.wait(60)
            while "Hello from A" in (text := send(relay)[2]):
                time.sleep(0.01)
    assert "Hello from B" in text
    seen = second.seen[0]
    assert seen.credentials == {"authorization": "Bearer sk-b"}
    assert seen.body == {**BODY, "model": "tiny"}


def test_a_failing_look_at_the_endpoint_keeps_the_one_that_works() -> None:
    looked = threading.Event()

    def follow() -> RelayTarget | None:
        looked.set()
        raise OSError("the file is damaged")

    with serving() as server, relaying(LaunchTarget("a", server.url), follow) as relay:
        assert looked.wait(60)
        assert "Hello from A" in send(relay)[2]


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("qwen", "qwen"),
        ("claude-haiku-5-5", "small"),
        ("claude-opus-5-5", "qwen"),
        ("exact", "mapped"),
        ("unknown", "qwen"),
    ],
)
def test_a_model_of_another_endpoint_is_replaced(name: str, model: str) -> None:
    target = RelayTarget(LaunchTarget("b"), ("qwen",), {"haiku": "small", "exact": "mapped"}, "qwen")
    assert target.model(name) == model
    assert RelayTarget(LaunchTarget("b")).model(name) == name
    byway = RelayTarget(LaunchTarget("byway"), ("qwen",), {}, "qwen", resolves_claude=True)
    assert byway.model("claude-opus-5-5") == "claude-opus-5-5" and byway.model("lab-model") == "qwen"


def test_a_client_that_disconnects_ends_the_request_to_the_endpoint() -> None:
    left = threading.Event()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                while connection.recv(65536):
                    pass
            left.set()

        threading.Thread(target=serve, daemon=True).start()
        with relaying(LaunchTarget("lab", f"http://127.0.0.1:{listener.getsockname()[1]}")) as relay:
            with socket.create_connection(("127.0.0.1", urlsplit(relay.url).port or 0)) as client:
                content = json.dumps(BODY).encode()
                head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {relay.token}\r\n"
                client.sendall(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
                wait_until(lambda: relay.requests)
            assert left.wait(60)


def test_the_claude_code_greeting_needs_no_secret() -> None:
    with serving() as server, relaying(LaunchTarget("lab", server.url)) as relay:
        connection = http.client.HTTPConnection("127.0.0.1", urlsplit(relay.url).port, timeout=60)
        connection.request("HEAD", "/api/hello")
        assert connection.getresponse().status == 200
        connection.close()


@pytest.mark.parametrize(("length", "status"), [((64 << 20) + 1, b"413"), (64 << 20, b"")])
def test_a_request_that_declares_too_many_bytes_is_refused_before_they_arrive(length: int, status: bytes) -> None:
    with (
        relaying(LaunchTarget("lab", "http://127.0.0.1:1")) as relay,
        socket.create_connection(("127.0.0.1", urlsplit(relay.url).port or 0)) as client,
    ):
        head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {relay.token}\r\n"
        client.sendall(f"{head}content-length: {length}\r\n\r\n".encode())
        client.settimeout(10 if status else 0.2)
        try:
            answer = client.recv(65536)
        except TimeoutError:
            answer = b""
        assert answer[9:12] == status and relay.requests == 0


def test_other_paths_are_passed_on() -> None:
    def fetch(relay: Relay) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", urlsplit(relay.url).port, timeout=60)
        connection.request("GET", "/v1/models/a%20b?limit=5", headers={"authorization": f"Bearer {relay.token}"})
        answer = connection.getresponse()
        connection.close()
        return answer.status

    with serving(models=[{"id": "x"}]) as server, relaying(LaunchTarget("lab", server.url)) as relay:
        assert fetch(relay) == 200
    assert server.seen[0].path == "/v1/models/a%20b?limit=5"


def test_an_error_of_several_megabytes_is_explained_too() -> None:
    answer = (500, JSON, '{"error":{"message":"boom ' + "x" * (3 << 20) + '"}}')
    with serving(answer=answer) as server, relaying(LaunchTarget("lab", server.url)) as relay:
        status, _, body = send(relay)
    assert status == 500 and "The endpoint lab" in message(body) and len(body) < 1 << 16
