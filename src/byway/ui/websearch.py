"""The card Web Search: which provider searches, and where its API key comes from."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import msgspec

from byway.admin import secrets
from byway.config.editing import Edit, EditError, Remove, Set, meaning
from byway.config.settings import SearchProviderSettings
from byway.problems import Problem
from byway.providers.protocol import SearchError, SearchQuery, WebResult
from byway.providers.registry import PROVIDERS
from byway.routes.admin import run
from byway.routes.context import RequestContext
from byway.runtime import Runtime
from byway.search.chain import Searcher
from byway.secrets.names import ENTRIES, variables_in
from byway.ui.page import Form, Outcome, config_text, failure, save_edits, variable_reference, with_scheme
from byway.ui.secrets import store_secret

#: Name and facts of each search provider; those without an API key come first.
_PROVIDER_ROWS: Final = sorted(
    ((name, provider.INFO) for name, provider in PROVIDERS.items()), key=lambda row: row[1].keyed
)
_TITLES: Final[dict[str, str]] = {name: provider.INFO.title for name, provider in PROVIDERS.items()}
_REFERENCE: Final = re.compile(r"\$\{[^{}:]+\}")


class SearchSettings(NamedTuple):
    """The settings as the file writes them, which may differ from those in force."""

    enabled: bool
    provider: str
    """Empty when the file sets none."""
    base_url: str
    key: str
    """The reference to a variable, such as `${BRAVE_API_KEY}`; empty for none, and for a key in plain text."""
    is_literal: bool
    """The file contains the key itself."""

    @property
    def source(self) -> str:
        """Where the key comes from: stored, variable, or file."""
        if self.is_literal:
            return "file"
        entry = ENTRIES.get(self.provider)
        return "stored" if not self.key or (entry and self.key == f"${{{entry.variable}}}") else "variable"


class TriedSearch(NamedTuple):
    """The result of a search with the saved settings."""

    query: str
    outcome: Outcome
    results: list[WebResult]


async def card_data(context: RequestContext) -> dict[str, Any]:
    """What the card shows."""
    runtime = context.runtime
    listed = await run(lambda: secrets.list_secrets(context.gateway.services.vault))
    written = _written((await config_text(context)).text)
    state, word = _state(runtime, written)
    return {
        "providers": _PROVIDER_ROWS,
        "held": {secret.name: secret for secret in listed.secrets},
        "search_set": written,
        "search_state": (state, word),
        "missing": runtime.config.web_search.missing,
        "typed": None,
        "results": None,
    }


def _written(text: str) -> SearchSettings:
    """The settings in the text of a config."""
    try:
        tree = meaning(text)
    except EditError:
        tree = None
    web = tree.get("web_search") if isinstance(tree, dict) else None
    web = web if isinstance(web, dict) else {}
    key, provider = web.get("api_key"), web.get("provider")
    key = key.strip() if isinstance(key, str) else ""
    is_reference = bool(_REFERENCE.fullmatch(key))
    return SearchSettings(
        web.get("enabled") == ("true",),
        provider if isinstance(provider, str) and provider in PROVIDERS else "",
        web["base_url"] if isinstance(web.get("base_url"), str) else "",
        key if is_reference else "",
        bool(key) and not is_reference,
    )


def _state(runtime: Runtime, written: SearchSettings) -> tuple[str, str]:
    """The state of web search as a colour and a label: what is set, and whether it works."""
    if runtime.searcher.ready:
        return "good", "on"
    if not written.enabled:
        return "none", "off"
    return "bad", "on, but no key: searches fail" if runtime.config.web_search.missing else "on, but not complete"


async def save(context: RequestContext, fields: Form) -> Outcome:
    """Save the card. Only what differs from the form that was sent out is changed, so other changes are kept."""
    provider = fields["provider"]
    if provider not in PROVIDERS:
        return Outcome("bad", "Choose a provider.")
    entry = ENTRIES.get(provider)
    written = _written((await config_text(context)).text)
    is_other = provider != fields["was:provider"]
    edits: list[Edit] = []
    on = fields["enabled"] == "on"
    if on != (fields["was:enabled"] == "on"):
        edits.append(Set(("web_search", "enabled"), on))
    if is_other:
        edits.append(Set(("web_search", "provider"), provider))
    dropped = ""
    if entry is None:
        base_url = with_scheme(fields["base_url"])
        if base_url != written.base_url:
            path = ("web_search", "base_url")
            edits.append(Set(path, base_url) if base_url else Remove(path))
    elif is_other and fields["was:provider"] and written.base_url:
        # The address belongs to the other provider; this one's key must not go there.
        edits.append(Remove(("web_search", "base_url")))
        dropped = f" `base_url: {written.base_url}` of {_TITLES.get(fields['was:provider'], 'the other provider')} was removed."
    kept = ""
    if entry is None:
        if written.key or written.is_literal:
            edits.append(Remove(("web_search", "api_key")))
    elif fields["source"] == "variable":
        typed = fields["variable"]
        if is_other and typed == fields["was:variable"] and typed:
            return Outcome(
                "bad",
                f"{typed} contains the key of another provider.",
                f"Choose where the key of {_TITLES[provider]} comes from.",
            )
        if is_other or typed != fields["was:variable"]:
            try:
                edits.append(Set(("web_search", "api_key"), variable_reference(typed)))
            except ValueError as error:
                return Outcome("bad", str(error))
    elif fields["source"] == "typed":
        if not fields["key"]:
            return Outcome("bad", "Type the key, or choose another source.")
        try:
            change = await store_secret(context, entry.name, fields["key"], accept_file=fields["accept"] == "on")
        except Problem as problem:
            return failure(context, problem)
        kept = f" The key is in the {change.stored}."
        edits += _own_key(entry.variable, written)
    elif fields["source"] == "stored":
        edits += _own_key(entry.variable, written)
    elif is_other:
        return Outcome("bad", "The key in the config file belongs to another provider.", "Choose another source.")
    outcome = await save_edits(context, edits, "web search", fields["etag"])
    if outcome.kind != "good":
        return outcome
    hint = f"{kept}{dropped} {outcome.hint}".strip()
    if not on:
        return outcome._replace(hint=hint)
    settings, runtime = context.gateway.runtime.config.web_search, context.gateway.runtime
    if settings.missing:
        return Outcome("warn", "Saved, but searches fail: there is no key.", f"{_missing_key(settings)} {hint}".strip())
    text = outcome.text if runtime.searcher.ready else "Saved, but searches fail: the settings are not complete."
    return Outcome("good" if runtime.searcher.ready else "warn", text, hint)


def _own_key(variable: str, written: SearchSettings) -> list[Edit]:
    """The edits after which the provider's own variable is used. Names that mean the same entry stay."""
    entry = ENTRIES.get(written.provider)
    names = variables_in(written.key)
    if entry is not None and entry.variable == variable and names and names <= set(entry.variables):
        return []
    return [Set(("web_search", "api_key"), f"${{{variable}}}")]


def _missing_key(settings: Any) -> str:
    """What to do about a key that is not set."""
    title = _TITLES[settings.provider] if settings.provider else "The provider"
    names = " and ".join(f"`{name}`" for name in settings.missing)
    return f"{title} needs {names}. Type the key here, store it under Secrets, or set the variable and restart Byway."


async def try_search(runtime: Runtime, typed: str) -> TriedSearch:
    """Search with the saved settings."""
    settings = runtime.config.web_search
    query = typed or "latest Rust release"
    if not settings.providers:
        text = "Web search has no key." if settings.missing else "No search provider is configured."
        hint = _missing_key(settings) if settings.missing else "Choose one above and save."
        return TriedSearch(query, Outcome("bad", text, hint), [])
    results: list[WebResult] = []
    searcher = Searcher(msgspec.structs.replace(settings, enabled=True, cache_ttl=0.0))
    try:
        answer = await searcher.search(SearchQuery(query, settings.max_results))
        results = answer.results
        many = f"{len(results)} results" if results else "No results"
        outcome = Outcome("good" if results else "warn", f"{many}, by {answer.provider}.")
    except SearchError as error:
        outcome = Outcome("bad", f"{_provider_names(settings.providers)} failed: {error.code}", error.message)
    finally:
        await searcher.close()
    return TriedSearch(query, outcome, results)


def _provider_names(providers: tuple[SearchProviderSettings, ...]) -> str:
    return ", then ".join(provider.provider for provider in providers) or "The search"
