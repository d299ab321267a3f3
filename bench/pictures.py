"""`python -m bench pictures`: takes the pictures of the settings page in docs/img, from a Byway with a month of requests. That of
the inspector, with a recorded request, is taken by hand.

The models, requests and costs are made up; the pages are real.
"""

from __future__ import annotations

import argparse
import random
import shutil
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from browser import login
from gateway import Gateway
from playwright.sync_api import Browser, Page, sync_playwright
from scripted import Asked, Reply, Say, Scripted, openai_error

from byway.store import UsageStore
from byway.ui.menu import PAGES
from byway.usage.record import UsageRecord

FOLDER: Final = Path(__file__).parent.parent / "docs/img"
WIDTH: Final = 1280
HEIGHT: Final = 860
LOCAL, CLOUD, SMALL = "qwen3-coder-30b", "qwen3-coder-480b", "gpt-oss-20b"
#: Names of Claude Code's calls, and what answers them.
_ALIASES: Final = {"default": [f"workstation/{LOCAL}", f"cloud/{CLOUD}"], "haiku": f"workstation/{SMALL}"}
_SESSIONS: Final = (
    "8f1d0c7a-3c54-4f0e-9a53",
    "b2a40e61-77aa-4c0b-8f1e",
    "41c9d2f3-0b6e-4d1a-a7c4",
    "d07e55b8-92ce-4e43-b1f9",
)


class Picture(NamedTuple):
    """A picture, and what is done before it is taken."""

    name: str
    path: str
    message: str = ""
    """What is typed on the playground."""


PICTURES: Final = (
    Picture("overview", "/?period=7d"),
    Picture("claude", "/claude"),
    Picture("models", "/models"),
    Picture(
        "playground", f"/playground?model=workstation/{LOCAL}", message="Where does this loop read one byte too many?"
    ),
    Picture("requests", "/requests"),
    Picture("usage", "/usage?since=30d&by=target"),
)


def _answer(request: Asked) -> Reply | Say:
    words = random.Random(len(request.body))
    if words.random() < 0.06:
        return openai_error(429, "Rate limit reached for requests per minute.", "rate_limit_error", retry_after="0")
    text = "The loop reads one byte too many: compare with less than instead of less than or equal."
    return Say(text, tokens=(words.randint(4_000, 60_000), words.randint(60, 900)), wait=0.05, gap=0.004)


def _settings(local: Scripted, cloud: Scripted) -> dict[str, Any]:
    return {
        "backends": [
            {"name": "workstation", "type": "generic", "url": local.url, "models": [LOCAL, SMALL]},
            {"name": "cloud", "type": "generic", "url": cloud.url, "models": [CLOUD], "local": False},
        ],
        "model_aliases": _ALIASES,
        "prices": {f"cloud/{CLOUD}": {"input": 0.4, "output": 1.6, "cached": 0.1}},
    }


def _history(folder: Path) -> None:
    """Add a month of usage: work by day, little at night and on weekends."""
    chance, now, records = random.Random(7), time.time(), list[UsageRecord]()
    for hour in range(1, 30 * 24):
        at = now - hour * 3_600
        moment = time.gmtime(at)
        busy = 14 if 8 <= moment.tm_hour <= 19 and moment.tm_wday < 5 else 1.2
        for _ in range(int(chance.expovariate(1 / busy))):
            cloud, small = chance.random() < 0.3, chance.random() < 0.25
            fresh, cached, written = (
                chance.randint(500, 7_000),
                chance.randint(6_000, 80_000),
                chance.randint(40, 1_800),
            )
            model = CLOUD if cloud else SMALL if small else LOCAL
            records.append(
                UsageRecord(
                    f"req_{len(records):024x}",
                    at - chance.random() * 3_500,
                    session=chance.choice(_SESSIONS),
                    agent="claude-cli",
                    requested="claude-opus-5-5",
                    alias="default",
                    backend="cloud" if cloud else "workstation",
                    model=model,
                    status=200 if chance.random() > 0.015 else 529,
                    input_tokens=fresh,
                    cached_tokens=cached,
                    output_tokens=written,
                    cost=fresh * 400 + cached * 100 + written * 1_600 if cloud else 0,
                    latency_ms=900 + written * 16.0,
                    first_ms=chance.lognormvariate(5.6 if small else 6.6, 0.5),
                )
            )
    store = UsageStore(folder)
    start = store.position("pictures")
    store.add("pictures", start, start + 1, sorted(records, key=lambda record: record.at))
    store.close()


def _requests(gateway: Gateway) -> None:
    for number in range(26):
        model = "claude-haiku-5-5" if number % 4 == 1 else "claude-opus-5-5"
        body = {
            "model": model,
            "max_tokens": 500,
            "stream": True,
            "messages": [{"role": "user", "content": "Where does this test fail? " + "x" * (number * 37 % 60)}],
        }
        gateway.post(body, headers={"x-claude-code-session-id": _SESSIONS[number // 7 % 4]})


def take(browser: Browser, gateway: Gateway, state: Any, picture: Picture, folder: Path) -> bool:
    """Take one picture; False when this Byway has no such page."""
    if not any(path == picture.path.partition("?")[0] for path, _ in PAGES):
        return False
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, storage_state=state)
    page: Page = context.new_page()
    page.goto(gateway.url + picture.path)
    page.locator("[hx-trigger=load]").first.wait_for(state="detached")
    if picture.message:
        page.locator("#message").fill(picture.message)
        page.keyboard.press("Enter")
        page.locator("#stop").wait_for(state="visible")
        page.locator("#stop").wait_for(state="hidden")
    page.screenshot(path=str(folder / f"{picture.name}.png"), animations="disabled")
    context.close()
    return True


def main(arguments: list[str]) -> int:
    """Take all pictures, or those whose names are given."""
    parser = argparse.ArgumentParser(prog="python -m bench pictures", description=__doc__)
    parser.add_argument("names", nargs="*", help="pictures (default: all)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where they are written (default: docs/img)")
    options = parser.parse_args(arguments)
    chromium = shutil.which("chromium-headless-shell")
    if chromium is None:
        raise SystemExit("chromium-headless-shell is not installed (Debian: apt install chromium-headless-shell)")
    chosen = [picture for picture in PICTURES if not options.names or picture.name in options.names]
    with (
        Scripted(_answer, models=(LOCAL, SMALL), window=262_144) as local,
        Scripted(_answer, models=(CLOUD,), window=262_144) as cloud,
        Gateway(_settings(local, cloud)) as gateway,
        sync_playwright() as playwright,
    ):
        _history(gateway.home / "data")
        _requests(gateway)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = login(browser.new_context().new_page(), gateway)
        state = page.context.storage_state()
        for picture in chosen:
            done = take(browser, gateway, state, picture, options.folder)
            print(f"{picture.name}: {'taken' if done else 'no such page'}")
        browser.close()
        gateway.visits.clear()
    return 0
