"""The settings page: links and unknown paths of a logged-in browser, and the address where Byway listens."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import HOST, Pages
from ports import free_port

KEYS = "api_keys: {api_keys: [{key: sk-byway-0123456789abcdef}]}\n"


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    opened = Pages(tmp_path, KEYS)
    yield opened
    opened.close()


@pytest.fixture
def busy() -> Iterator[int]:
    """A port at which another program listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


# ------------------------------------------------------------------------------------------------------ links and paths


def test_a_used_link_opens_the_page_in_a_browser_that_is_logged_in(pages: Pages) -> None:
    target = f"/login?token={pages.services.logins.link()}"
    first = pages.get(target, cookie=False)
    assert (first.status, first.headers["location"]) == (303, "/")
    again = pages.get(target)
    assert (again.status, again.headers["location"]) == (303, "/")
    stranger = pages.get(target, cookie=False)
    assert stranger.status == 401 and "used already" in stranger.text


def test_a_used_link_of_another_site_is_opened_again_with_the_cookie(pages: Pages) -> None:
    target = f"/login?token={pages.services.logins.link()}"
    pages.get(target, cookie=False)
    foreign = {"sec-fetch-site": "cross-site"}
    answer = pages.get(target, foreign, cookie=False)
    assert answer.status == 200 and f'content="0; url={target}"' in answer.html


def test_an_unknown_path_is_not_found_in_a_browser_that_is_logged_in(pages: Pages) -> None:
    answer = pages.get("/nosuch")
    assert answer.status == 404 and "Unknown path /nosuch" in answer.text
    assert pages.gateway.requests.count == 0, "it is no failure of a client"
    assert pages.get("/nosuch", cookie=False).status == 401


def test_a_page_whose_login_has_ended_is_no_request_of_a_client(pages: Pages) -> None:
    assert pages.get("/requests/rows", cookie=False).status == 401
    assert pages.gateway.requests.count == 0


# ------------------------------------------------------------------------------------------------------------- addresses


def save(pages: Pages, port: int) -> str:
    fields = pages.get("/api").form("/api/server") | {"port": str(port)}
    return pages.post("/api/server", fields).outcome("server")


def test_a_port_in_use_is_not_saved_and_stays_in_the_field(pages: Pages, busy: int) -> None:
    before = pages.file.read_text()
    assert f"bad: Not saved: 127.0.0.1:{busy} is in use by" in save(pages, busy)
    assert pages.file.read_text() == before
    answer = pages.post("/api/server", pages.get("/api").form("/api/server") | {"port": str(busy)})
    assert answer.form("/api/server")["port"] == str(busy)


def test_a_free_port_is_saved_and_so_is_the_current_one(pages: Pages) -> None:
    free = free_port()
    assert save(pages, free).startswith("good: Saved")
    assert f'bind_address: "127.0.0.1:{free}"' in pages.file.read_text()
    assert save(pages, 38080).startswith("good: Saved"), "the port where it listens itself"


def test_byway_does_not_restart_while_the_new_port_is_in_use(pages: Pages, busy: int) -> None:
    pages.file.write_text(f"{KEYS}server: {{bind_address: '127.0.0.1:{busy}'}}\n")
    pages.gateway.runtime.config = pages.check(pages.file.read_text())
    answer = pages.post("/api/restart", {}, htmx=False)
    assert f"Not restarted: 127.0.0.1:{busy} is in use by" in answer.text
    assert pages.restarts == 0 and answer.status == 422
    by_api = pages.call("POST", "/byway/restart", "", {"accept": "application/json"})
    assert by_api.status == 400 and "is in use by" in by_api.html and pages.restarts == 0
    # `--port` decides where it listens, so the config's port does not matter.
    pages.services.pinned = True
    assert pages.post("/api/restart", {}, htmx=False).status == 200
    assert pages.restarts == 1


def test_an_address_of_the_command_line_is_shown_beside_the_configs(pages: Pages) -> None:
    assert "Set on the command line" not in pages.get("/api").text
    pages.services.pinned = True
    assert f"Listens at {HOST} Set on the command line ( --host , --port )" in pages.get("/api").text


def test_a_failed_move_is_shown_on_every_page(pages: Pages) -> None:
    pages.services.listen_problem = "127.0.0.1:9 is in use by python3."
    for path in ("/", "/requests"):
        assert f"so it stays at {HOST}. 127.0.0.1:9 is in use by python3." in pages.get(path).text


# ---------------------------------------------------------------------------------------------------------------- clients


def test_an_action_of_the_clients_page_sends_its_part_of_the_page(pages: Pages) -> None:
    """A part is rendered without what stands outside of its block."""
    for htmx in (True, False):
        answer = pages.post("/clients/endpoint", {"name": "nosuch"}, htmx=htmx)
        assert answer.status == 422 and "There is no endpoint" in answer.text
