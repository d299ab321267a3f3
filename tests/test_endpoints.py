"""Endpoints: checked base URLs, the file that lists them, `.byway` files, running clients, failures by layer."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from byway import platform
from byway.endpoints.address import check_address
from byway.endpoints.advice import explain
from byway.endpoints.clients import ClientRecord, is_stale, overlay_folder, registered, running_clients
from byway.endpoints.registry import BYWAY, Endpoint, EndpointError, Endpoints

LOCAL = "http://127.0.0.1:8766"


@pytest.fixture
def endpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Endpoints:
    # The keychain of this machine stays out of it.
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    return Endpoints(tmp_path / "data", {})


# --- base URLs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        LOCAL,
        "https://gateway.example.com/anthropic",
        "http://[::1]:4000",
        "http://my-server:1234/path",
        "HTTP://127.0.0.1:8766",
    ],
)
def test_a_good_url_is_used_as_it_is(url: str) -> None:
    check = check_address(url)
    assert check.state == "ok" and check.url == url.replace("HTTP", "http") and not check.warning


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("localhost:8766", "http://localhost:8766"),
        ("127.0.0.1:8766", LOCAL),
        ("192.168.1.5:1234/anthropic", "http://192.168.1.5:1234/anthropic"),
        ("gateway.example.com", "https://gateway.example.com"),
        ("//gateway.example.com:8443/x", "https://gateway.example.com:8443/x"),
        ("http:/127.0.0.1:8766", LOCAL),
        ("http:127.0.0.1:8766", LOCAL),
        (f'"{LOCAL}"', LOCAL),
        (f"\u201c{LOCAL}\u201d", LOCAL),
        (f"  {LOCAL}\n", LOCAL),
        ("http://127.0.0.1 : 8766", LOCAL),
        (f"export ANTHROPIC_BASE_URL={LOCAL}", LOCAL),
        (f'$env:ANTHROPIC_BASE_URL = "{LOCAL}"', LOCAL),
        (f"{LOCAL}/v1", LOCAL),
        (f"{LOCAL}/v1/", LOCAL),
        (f"{LOCAL}/anthropic/v1/messages", f"{LOCAL}/anthropic"),
        (f"{LOCAL}/v1/messages/count_tokens", LOCAL),
        (f"{LOCAL}/v1/v1/messages", LOCAL),
        (f"{LOCAL}/anthropic?beta=true", f"{LOCAL}/anthropic"),
        (f"{LOCAL}#top", LOCAL),
        ("http://0.0.0.0:8766", LOCAL),
        ("http://[::]:8766", "http://[::1]:8766"),
    ],
)
def test_a_repairable_url_is_shown_in_its_corrected_form(given: str, url: str) -> None:
    check = check_address(given)
    assert (check.state, check.url) == ("fixable", url) and all(check.repairs)
    # The correction itself needs none.
    assert check_address(check.url).state == "ok"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("ftp://127.0.0.1", "http:// and https://"),
        ("file:///etc/passwd", "http:// and https://"),
        ("javascript:alert(1)", "http:// and https://"),
        ("http://", "no host"),
        ("http:///v1", "no host"),
        ("http://127.0.0.1:99999", "port"),
        ("http://127.0.0.1:port", "port"),
        ("http://127.0.0.1:0", "port"),
        ("http://user:secret@127.0.0.1:8766", "user name or password"),
        ("user:secret@gateway.example.com", "user name or password"),
        ("http://127.1:8766", "IPv4"),
        ("http://host\\path", "backslash"),
        ("x" * 3000, "characters"),
    ],
)
def test_an_unusable_url_is_refused_with_the_reason(given: str, reason: str) -> None:
    check = check_address(given)
    assert check.state == "refused" and not check.url and reason in check.problem
    assert "secret" not in check.problem


def test_plain_http_to_a_public_host_is_warned_about() -> None:
    assert "https" in check_address("http://gateway.example.com").warning
    assert not check_address("http://10.0.0.1:8080").warning


# --- the file ---------------------------------------------------------------------------------------------------------


def test_byway_is_the_built_in_and_active_endpoint(endpoints: Endpoints, tmp_path: Path) -> None:
    assert [endpoint.name for endpoint in endpoints.all()] == [BYWAY]
    assert endpoints.select(tmp_path) == ("byway", "active", None, True)
    with pytest.raises(EndpointError, match="built in"):
        endpoints.remove(BYWAY)


def test_an_endpoint_is_added_used_and_removed(endpoints: Endpoints, tmp_path: Path) -> None:
    endpoints.add(Endpoint("lab", LOCAL, headers={"x-team": "blue"}, model_map={"default": "qwen3"}))
    with pytest.raises(EndpointError, match="already"):
        endpoints.add(Endpoint("lab", LOCAL))
    endpoints.add(Endpoint("lab", f"{LOCAL}/x"), replace=True)
    assert endpoints.use("lab").base_url == f"{LOCAL}/x"
    endpoints.set_verified("lab")
    assert endpoints.get("lab").verified
    assert endpoints.select(tmp_path).name == "lab"
    assert endpoints.select(tmp_path, "byway") == ("byway", "option", None, True)
    endpoints.off()
    assert endpoints.select(tmp_path).name == ""
    endpoints.use("lab")
    assert endpoints.remove("lab") and endpoints.book().active == BYWAY
    with pytest.raises(EndpointError, match="no endpoint 'lab'"):
        endpoints.use("lab")


def test_the_secret_is_stored_in_the_vault_and_not_in_the_file(endpoints: Endpoints, tmp_path: Path) -> None:
    endpoint = endpoints.add(Endpoint("corp", LOCAL, "auth_token"), "sk-corp-0123456789", accept_file=True)
    assert endpoints.secret(endpoint) == "sk-corp-0123456789"
    file = tmp_path / "data/endpoints.json"
    assert "sk-corp" not in file.read_text() and file.stat().st_mode & 0o777 == 0o600
    endpoints.remove("corp")
    with pytest.raises(EndpointError, match="is missing"):
        endpoints.secret(endpoint)


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        (Endpoint("lab", "localhost:8766"), "http://localhost:8766"),
        (Endpoint("lab", "ftp://x"), "cannot be used"),
        (Endpoint("Lab", LOCAL), "characters"),
        (Endpoint("anthropic", LOCAL), "meaning of its own"),
        (Endpoint("lab", LOCAL, headers={"Authorization": "Bearer x"}), "--token"),
        (Endpoint("lab", LOCAL, headers={"x-a": "1\n2"}), "invalid"),
        (Endpoint("lab", LOCAL, "api_key"), "needs a secret"),
    ],
)
def test_an_endpoint_that_cannot_work_is_not_saved(endpoints: Endpoints, endpoint: Endpoint, reason: str) -> None:
    with pytest.raises(EndpointError, match=reason):
        endpoints.add(endpoint)
    assert not endpoints.book().endpoints


def test_a_damaged_file_is_an_error_and_never_means_anthropic(endpoints: Endpoints, tmp_path: Path) -> None:
    endpoints.use(BYWAY)
    (tmp_path / "data/endpoints.json").write_text("{")
    with pytest.raises(EndpointError, match="damaged"):
        endpoints.select(tmp_path)


def test_an_active_endpoint_that_is_gone_is_an_error(endpoints: Endpoints, tmp_path: Path) -> None:
    endpoints.use(BYWAY)
    file = tmp_path / "data/endpoints.json"
    file.write_bytes(msgspec.json.encode({"active": "gone"}))
    with pytest.raises(EndpointError, match="no endpoint 'gone'"):
        endpoints.select(tmp_path)


# --- .byway files -----------------------------------------------------------------------------------------------------


def test_a_folder_file_applies_below_it_once_it_is_confirmed(endpoints: Endpoints, tmp_path: Path) -> None:
    endpoints.add(Endpoint("lab", LOCAL))
    endpoints.add(Endpoint("other", LOCAL))
    below = tmp_path / "project/src"
    below.mkdir(parents=True)
    file = tmp_path / "project/.byway"
    file.write_text("# the endpoint of this project\nlab\n")
    assert endpoints.select(below) == ("lab", "folder", file, False)
    endpoints.trust(file, "lab")
    assert endpoints.select(below) == ("lab", "folder", file, True)
    # A change by a later commit has to be confirmed again.
    file.write_text("other\n")
    assert endpoints.select(below) == ("other", "folder", file, False)


@pytest.mark.parametrize("content", ["", "http://evil.example\n", "lab\nother\n", "x" * 500, "\0", "unknown"])
def test_a_folder_file_with_anything_but_a_known_name_is_an_error(
    endpoints: Endpoints, tmp_path: Path, content: str
) -> None:
    (tmp_path / ".byway").write_text(content)
    with pytest.raises(EndpointError, match=r"\.byway"):
        endpoints.select(tmp_path)


def test_a_folder_named_like_the_file_is_skipped(endpoints: Endpoints, tmp_path: Path) -> None:
    (tmp_path / ".byway").mkdir()
    assert endpoints.select(tmp_path).reason == "active"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_named_like_the_file_is_an_error_and_does_not_block(endpoints: Endpoints, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".byway")
    with pytest.raises(EndpointError, match="regular file"):
        endpoints.select(tmp_path)


# --- running clients --------------------------------------------------------------------------------------------------


def test_a_client_is_listed_while_its_launcher_runs(tmp_path: Path) -> None:
    record = ClientRecord(os.getpid(), "lab", f"{LOCAL}/", "2026-11-29T21:00:00+00:00", str(tmp_path))
    with registered(tmp_path, record):
        assert running_clients(tmp_path).running == (record,)
        assert not is_stale(record, LOCAL) and is_stale(record, "http://127.0.0.1:1")
    assert running_clients(tmp_path) == ((), ())


def test_a_killed_launcher_is_reported_once_and_its_settings_file_is_removed(tmp_path: Path) -> None:
    overlay = overlay_folder(tmp_path) / "1.settings"
    record = ClientRecord(1, "lab", "", "", "", keys=("key_1", "key_2"), overlay=str(overlay))
    overlay.parent.mkdir()
    overlay.write_text("{}")
    # The system has released the lock of its file.
    (overlay.parent / "1-00000000.json").write_bytes(msgspec.json.encode(record))
    ended = running_clients(tmp_path).ended
    assert [record.keys for record in ended] == [("key_1", "key_2")] and not overlay.exists()
    assert running_clients(tmp_path) == ((), ())


# --- failures by layer ------------------------------------------------------------------------------------------------

NO_MODEL = [
    (400, '{"error":"No models loaded. Please load a model in the developer page or use the `lms load` command."}'),
    (404, '{"error":{"message":"No models loaded. Please load a model","type":"invalid_request_error"}}'),
    (503, '{"detail":"No models are currently loaded."}'),
    (500, '{"error":{"message":"Model not loaded","code":"model_not_loaded"}}'),
    (400, "could not load model: rpc error"),
    (None, "API Error: 400 No models loaded. Please use lms load"),
]


@pytest.mark.parametrize(("status", "text"), NO_MODEL)
def test_no_model_loaded_is_recognised_in_the_words_of_all_servers(status: int | None, text: str) -> None:
    advice = explain("lab", LOCAL, text, status)
    assert advice.layer == "model" and "no model loaded" in advice.summary and "Load a model" in advice.action
    assert "lab" in advice.summary and LOCAL in advice.summary and advice.details == text


@pytest.mark.parametrize(
    ("status", "text", "layer", "summary", "action"),
    [
        (None, "connect ECONNREFUSED 127.0.0.1:8766", "address", "refused the connection", "Start the server"),
        (None, "getaddrinfo ENOTFOUND nowhere.invalid", "address", "host name is unknown", "host name"),
        (None, "self-signed certificate in chain", "address", "certificate", "NODE_EXTRA_CA_CERTS"),
        (None, "API Error: Invalid URL", "address", "invalid URL", "whole URL"),
        (None, "Connection dropped (ECONNRESET)", "server", "closed the connection", "log"),
        (None, "timed out", "server", "does not answer in time", "API_TIMEOUT_MS"),
        (401, '{"error":{"message":"invalid x-api-key"}}', "credential", "rejected the key", "--key"),
        (403, '{"error":{"message":"forbidden"}}', "credential", "forbids", "more rights"),
        (
            404,
            '{"error":{"message":"model: qwen not found","type":"not_found_error"}}',
            "model",
            "does not serve",
            "--model",
        ),
        (404, '{"error":"model \'qwen\' not found, try pulling it first"}', "model", "does not serve", "--model"),
        (404, '{"detail":"Not Found"}', "address", "no Messages API", "base URL"),
        (405, "Method Not Allowed", "address", "no Messages API", "base URL"),
        (429, '{"error":{"message":"slow down"}}', "server", "limits the rate", "Wait"),
        (500, '{"error":{"message":"boom"}}', "server", "error of its own (status 500)", "log"),
        (529, '{"error":{"message":"overloaded"}}', "server", "status 529", "log"),
        (503, '{"error":{"message":"Loading model","code":503}}', "model", "still loading", "Wait"),
        (200, "<!DOCTYPE html><html><body>Sign in</body></html>", "address", "web page", "base URL"),
        (502, "<html><body>Bad gateway</body></html>", "address", "web page", "base URL"),
        (400, '{"error":{"message":"system: unexpected"}}', "server", "does not accept", "behind Byway"),
        (None, "Not logged in - Please run /login", "credential", "rejected the key, or needs one", "--key"),
        (None, "exit code 134", "process", "client", "doctor"),
    ],
)
def test_each_failure_names_its_layer_and_one_thing_to_do(
    status: int | None, text: str, layer: str, summary: str, action: str
) -> None:
    advice = explain("lab", LOCAL, text, status)
    assert advice.layer == layer
    assert summary in advice.summary and action in advice.action and "lab" in advice.summary
    assert advice.details == text
    assert "claude login" not in advice.action.lower() or "does not help" in advice.action


def test_byway_itself_is_advised_with_its_own_commands() -> None:
    assert "byway up" in explain("byway", LOCAL, "ECONNREFUSED").action
    assert "byway key create" in explain("byway", LOCAL, "", 401).action


def test_the_sentence_of_byways_own_error_is_shown() -> None:
    body = '{"type":"error","error":{"type":"api_error","message":"Backend \\"one\\" rejected the API key."}}'
    assert explain("byway", LOCAL, body, 502).summary.endswith('answers: Backend "one" rejected the API key.')


def test_a_client_is_listed_as_running_although_its_new_file_was_locked_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = iter((False,))
    lock = platform.try_lock
    monkeypatch.setattr(platform, "try_lock", lambda file: next(tries, True) and lock(file))
    record = ClientRecord(1, "lab", "http://127.0.0.1:1", "2026-11-29T00:00:00+00:00", "/project", keys=("key_1",))
    with registered(tmp_path, record):
        assert running_clients(tmp_path) == ((record,), ())


def test_a_file_that_could_not_be_read_again_is_not_written(
    endpoints: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints.add(Endpoint("lab", LOCAL))
    monkeypatch.setattr(platform, "PRIVATE_LIMIT", 1_000)
    with pytest.raises(EndpointError, match="Remove endpoints first"):
        endpoints.add(Endpoint("big", LOCAL, headers={"x-team": "a" * 1_000}))
    assert [endpoint.name for endpoint in endpoints.book().endpoints] == ["lab"]
