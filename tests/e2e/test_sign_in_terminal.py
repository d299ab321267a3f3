"""The real Claude Code in a terminal: a person enters /login, works, and sees its notices."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from beside import command
from browser import Browsing
from e2e.claude import LIMIT
from e2e.terminal import ENTER, ESCAPE, UP, Terminal
from e2e.test_sign_in import WINDOW, SignedInClaude
from gateway import Gateway
from playwright.sync_api import expect
from scripted import Asked, Say, Scripted

from byway.endpoints import running
from byway.store import Store

pytestmark = [pytest.mark.real, pytest.mark.long]
SECRET = "AKIA" + "IOSFODNN7EXAMPLE"
ENDED = "This sign-in has ended: it was revoked or has expired, or its account was disabled."
PLEASE_LOG_IN = f"Please run /login · API Error: 401 {ENDED}"
#: Before the row that Enter takes, and before what is typed.
CURSOR = "\N{HEAVY RIGHT-POINTING ANGLE QUOTATION MARK ORNAMENT}"
#: The client shows it for eight seconds, at the right above the prompt (measured, 2.1.329).
NOTICE = "You've used "
#: A prompt that the model answers with so many tokens; one token costs a tenth of a cent.
COST = re.compile(r"Spend (\d+) tokens")


def answer(request: Asked) -> Say:
    """The tokens that the last prompt asks for. Other calls of the client, as for a title, cost nothing."""
    cost = COST.search(json.dumps(json.loads(request.body)["messages"][-1]))
    if cost:
        return Say(f"Spent {cost[1]} tokens.", tokens=(100, int(cost[1])))
    return Say("Hello from the model.", tokens=(100, 0))


def config(server: Scripted, **sections: Any) -> dict[str, Any]:
    models = [{"id": name, "window": WINDOW} for name in ("local", "other")]
    backend = {"name": "one", "type": "generic", "url": server.url, "models": models}
    prices = {"one/local": {"input": 0, "output": 1000}}
    return {"backends": [backend], "model_aliases": {"default": ["one/local"]}, "prices": prices, **sections}


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted(answer) as server:
        yield server


class ClaudeOfPerson(SignedInClaude):
    """A Claude Code whose first questions, about colours and the trust in the folder, were answered before."""

    def __init__(self, home: Path, gateway: Gateway) -> None:
        super().__init__(home, f"{gateway.url}/anthropic")
        project = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
        state = {"hasCompletedOnboarding": True, "theme": "dark", "projects": {str(self.work): project}}
        (self.config / ".claude.json").write_text(json.dumps(state))

    @contextmanager
    def terminal(self) -> Iterator[Terminal]:
        with Terminal([str(self.path)], self.environ, self.work) as terminal:
            yield terminal


def run(terminal: Terminal, text: str) -> None:
    """Type a prompt or a command, and send it."""
    terminal.wait(CURSOR)
    terminal.press(text)
    terminal.wait(text)
    terminal.press(ENTER)


def log_in(terminal: Terminal, approve: Callable[[str], object]) -> None:
    """Enter /login, trust the gateway when the client asks, and continue when `approve` has approved the code."""
    run(terminal, "/login")
    terminal.wait("Enter to connect")
    terminal.press(ENTER)
    text = terminal.wait(lambda text: "Trust gateway" in text or "Code:" in text)
    if "Trust gateway" in text:
        terminal.wait(f"{CURSOR} No, cancel login")
        terminal.press(UP)
        terminal.wait(f"{CURSOR} Yes, trust this gateway")
        terminal.press(ENTER)
    code = re.search(r"Code: ([A-Z]{4}-[A-Z]{4})", terminal.wait("Waiting for sign-in"))
    assert code is not None
    approve(code[1])
    terminal.wait("Connected to Cloud gateway")
    terminal.press(ENTER)
    terminal.wait(lambda text: "Connected to Cloud gateway" not in text)


def owner(gateway: Gateway, method: str, path: str, body: Any = None) -> Any:
    """The answer of the admin API to the owner of the data folder."""
    answered = running.request(gateway.home / "data", method, path, body)
    assert answered is not None and answered.status < 300, answered
    return answered.body


def approving(gateway: Gateway) -> Callable[[str], object]:
    return lambda code: owner(gateway, "POST", "/byway/sign-ins", {"user_code": code})


def sign_ins(gateway: Gateway) -> list[str]:
    return [entry["id"] for entry in owner(gateway, "GET", "/byway/sign-ins")["sign_ins"]]


def test_a_person_signs_in_by_login_and_works_through_a_restart_a_revocation_and_logout(
    tmp_path: Path, server: Scripted
) -> None:
    rules = [{"name": "keys", "patterns": ["api_key"], "action": "block"}]
    with Gateway(config(server, guardrails={"enabled": True, "rules": rules})) as gateway:
        claude = ClaudeOfPerson(tmp_path, gateway)
        with claude.terminal() as terminal:
            log_in(terminal, approving(gateway))
            terminal.wait("local · Cloud gateway")
            run(terminal, "Spend 1240 tokens")
            terminal.wait("● Spent 1240 tokens.")

            run(terminal, "/model")
            text = terminal.wait("Select model")
            for shown in ("currently local", "Set by your organization", "2. local", "3. other", "64k window"):
                assert shown in text, text
            terminal.press(ESCAPE)
            terminal.wait("Kept model as local")
            run(terminal, "/usage")
            terminal.wait("$1.24 today · $1.24 this week · $1.24 this month")
            terminal.press(ESCAPE)
            terminal.wait(lambda text: "Spend (UTC)" not in text)

            count = len(server.requests)
            run(terminal, f"my key is {SECRET}")
            text = terminal.wait('The guardrail "keys"')
            assert text.count('The guardrail "keys"') == 1, text
            assert not any(SECRET in request.body.decode() for request in server.requests[count:])
            # The prompt stays in the session, and each further request would be blocked.
            run(terminal, "/clear")
            terminal.wait(lambda text: "The guardrail" not in text)

            gateway._arguments[gateway._arguments.index("--port") + 1] = str(gateway.port)
            gateway.process.terminate()
            gateway.process.wait(60)
            gateway.kill()
            run(terminal, "Spend 11 tokens")
            terminal.wait("attempt")
            gateway.start()
            terminal.wait("● Spent 11 tokens.")
            turn = claude.ask("Say hello")
            assert turn.text == "Hello from the model." and turn.code == 0

            (before,) = sign_ins(gateway)
            owner(gateway, "DELETE", f"/byway/sign-ins/{before}")
            count = len(server.requests)
            run(terminal, "Spend 12 tokens")
            terminal.wait(PLEASE_LOG_IN)
            assert len(server.requests) == count
            log_in(terminal, approving(gateway))
            run(terminal, "Spend 13 tokens")
            terminal.wait("● Spent 13 tokens.")
            assert len(sign_ins(gateway)) == 1
            run(terminal, "/logout")
            terminal.end()
            assert sign_ins(gateway) == []
        assert "enterpriseGateway" not in (claude.credentials.read_text() if claude.credentials.exists() else "")


def test_connect_keeps_a_sign_in_by_login_and_ends_the_one_that_it_replaced(tmp_path: Path, server: Scripted) -> None:
    with Gateway(config(server)) as gateway:
        claude = ClaudeOfPerson(tmp_path, gateway)

        def byway(*arguments: str) -> str:
            done = command(gateway, *arguments, **{**claude.environ, "BYWAY_CLAUDE": str(claude.path)})
            assert done.returncode == 0, done
            return done.stdout + done.stderr

        def login() -> list[str]:
            """Enter /login and leave: a client that runs writes the files that `connect` changes. Returns the sign-ins."""
            with claude.terminal() as terminal:
                log_in(terminal, approving(gateway))
                terminal.wait("local · Cloud gateway")
                run(terminal, "/exit")
                terminal.end()
            return sign_ins(gateway)

        (first,) = login()
        byway("connect", "--sign-in", "--yes")
        assert sign_ins(gateway) == [first], "it is kept"
        both = login()
        assert len(both) == 2 and first in both, "the client revokes nothing at another /login (measured, 2.1.329)"
        assert "An earlier sign-in of Claude Code is still valid" in byway("doctor")
        assert f"{first} has ended" in byway("connect", "--sign-in", "--yes")
        both.remove(first)
        assert sign_ins(gateway) == both and "earlier sign-in" not in byway("doctor")
        assert claude.ask("Say hello").text == "Hello from the model."
        byway("disconnect", "--yes")
        assert sign_ins(gateway) == []


def refused(gateway: Gateway) -> int:
    """How many requests a budget has refused."""
    return [line.get("problem") for line in gateway.requests()].count("budget")


def test_a_person_sees_two_notices_of_a_budget_and_at_its_end_one_sentence(tmp_path: Path, server: Scripted) -> None:
    limits = [{"for": "global", "budget": 1, "period": "month"}]
    with Gateway(config(server, limits=limits)) as gateway:
        claude = ClaudeOfPerson(tmp_path, gateway)
        with claude.terminal() as terminal:
            log_in(terminal, approving(gateway))
            terminal.wait("local · Cloud gateway")
            run(terminal, "Spend 800 tokens")
            terminal.wait("● Spent 800 tokens.")
            run(terminal, "Spend 160 tokens")
            terminal.wait("● Spent 160 tokens.")
            terminal.wait_for_notice(f"{NOTICE}80% of your usage credits · resets ")
            # While a notice is on the screen, the client drops the next one.
            terminal.wait(lambda text: NOTICE not in text)
            run(terminal, "/usage")
            text = terminal.wait("$0.96 / $1.00 spent this month")
            assert "96% used" in text, text
            terminal.press(ESCAPE)
            terminal.wait(lambda text: "Spend limit" not in text)
            run(terminal, "Spend 20 tokens")
            terminal.wait("● Spent 20 tokens.")
            terminal.wait_for_notice(f"{NOTICE}96% of your usage credits · resets ")
            run(terminal, "Spend 70 tokens")
            terminal.wait("● Spent 70 tokens.")
            requests = len(server.requests)
            run(terminal, "Spend 10 tokens")
            text = terminal.wait("have the budget raised in Byway.")
            sentence = "The budget of all requests together ($1.00 per month) is used up; wait until "
            assert text.count(sentence) == 1 and "API Error" not in text, text
            gateway.wait(lambda: refused(gateway), what="the request is logged")
            assert refused(gateway) == 1
            assert len(server.requests) == requests


def test_a_client_of_a_disabled_account_ends_in_its_session_and_at_its_next_start(
    tmp_path: Path, server: Scripted, browsing: Browsing
) -> None:
    with Gateway(config(server)) as gateway:
        with Store(gateway.home / "data") as store:
            store.add_account("ada", "test", role="member")
        page = browsing.page()
        gateway.visits.append(lambda: page.goto("about:blank"))
        page.goto(command(gateway, "account", "link", "ada").stdout.split()[1])
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_text("ada, member")).to_be_visible()

        def approve(code: str) -> None:
            page.goto(f"{gateway.url}/device?user_code={code}")
            card = page.locator("#approve")
            expect(card).to_contain_text(code)
            card.get_by_role("button", name="Approve").click()
            expect(page.get_by_role("status")).to_contain_text("Approved")

        claude = ClaudeOfPerson(tmp_path, gateway)
        with claude.terminal() as terminal:
            log_in(terminal, approve)
            terminal.wait("local · Cloud gateway")
            run(terminal, "Spend 11 tokens")
            terminal.wait("● Spent 11 tokens.")
            kept = claude.credentials.read_text()
            command(gateway, "account", "disable", "ada")
            gateway.wait(lambda: sign_ins(gateway) == [], what="the sign-in of the account ends")
            count = len(server.requests)
            run(terminal, "Spend 12 tokens")
            terminal.wait(PLEASE_LOG_IN)
        # As a client that did not run when the account was disabled.
        claude.credentials.write_text(kept)
        program = [str(claude.path), "-p", "Say hello"]
        ended = subprocess.run(
            program, env=claude.environ, cwd=claude.work, capture_output=True, text=True, timeout=LIMIT, check=False
        )
        assert ended.returncode == 1
        refused = (
            f"Cloud gateway {gateway.url}/anthropic no longer accepts this session. Start `claude` and sign in again"
        )
        assert refused in " ".join(ended.stderr.split()), ended
        claude.credentials.write_text(kept)
        with claude.terminal() as terminal:
            terminal.wait("Cloud gateway session expired")
            terminal.wait("run /login to reconnect.")
        assert len(server.requests) == count
