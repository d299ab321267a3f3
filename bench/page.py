"""`python -m bench page`: how soon the settings page is seen. First contentful paint in Chromium, on loopback, without its cache;
and the time in which Byway itself answers. Medians; the fastest paint shows what a busy machine adds."""

from __future__ import annotations

import argparse
import shutil
import statistics
from typing import Any

from browser import login
from gateway import Gateway, config
from playwright.sync_api import Page, sync_playwright
from scripted import Say, Scripted

from byway.ui.menu import PAGES

#: Milliseconds in which something is to be seen.
LIMIT = 100.0
#: Times that the browser records (https://www.w3.org/TR/paint-timing/, seen 2026-11-21).
_TIMES = """async () => {
    const seen = () => performance.getEntriesByName("first-contentful-paint")[0];
    while (!seen()) await new Promise(done => setTimeout(done, 5));
    const went = performance.getEntriesByType("navigation")[0];
    return {paint: seen().startTime, answer: went.responseEnd - went.requestStart};
}"""


def _loads(page: Page, url: str, rounds: int) -> dict[str, float]:
    """Medians in milliseconds: until something is seen, and Byway's own part of it; and the fastest paint."""
    times: list[dict[str, float]] = []
    for _ in range(rounds):
        page.goto(url)
        times.append(page.evaluate(_TIMES))
    medians = {what: statistics.median(time[what] for time in times) for what in ("paint", "answer")}
    return {**medians, "fastest": min(time["paint"] for time in times)}


def measure(rounds: int, chromium: str) -> dict[str, dict[str, float]]:
    """By page."""
    with Scripted(lambda request: Say("Hello there.")) as server, Gateway(config(server)) as gateway:
        ask = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
        for _ in range(100):
            gateway.post(ask)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            )
            page = login(browser.new_context().new_page(), gateway)
            network = page.context.new_cdp_session(page)
            network.send("Network.setCacheDisabled", {"cacheDisabled": True})
            figures: dict[str, Any] = {}
            for path, name in PAGES:
                answer = page.goto(gateway.url + path)
                if answer is not None and answer.ok:
                    figures[name] = _loads(page, gateway.url + path, rounds)
            browser.close()
    return figures


def main(arguments: list[str]) -> int:
    """Print one line a page."""
    parser = argparse.ArgumentParser(prog="python -m bench page", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="loads of each page (default 15)")
    rounds = parser.parse_args(arguments).rounds
    chromium = shutil.which("chromium-headless-shell")
    if chromium is None:
        raise SystemExit("chromium-headless-shell is not installed (Debian: apt install chromium-headless-shell)")
    print(f"{'':<18}{'first paint':>14}{'fastest':>12}{'answer':>12}   limit {LIMIT:g} ms")
    for name, middle in measure(rounds, chromium).items():
        verdict = "ok" if middle["paint"] <= LIMIT else "over"
        print(
            f"{name:<18}{middle['paint']:>11.1f} ms{middle['fastest']:>9.1f} ms{middle['answer']:>9.1f} ms   {verdict}"
        )
    return 0
