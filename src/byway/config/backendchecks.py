"""Checks of one backend of the config: the type that belongs to its URL, and where credentials of callers may go. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from byway.backends.vendors import SPELLINGS, VENDORS, Vendor, api_root, serves_host, vendor_of_url
from byway.config import validators


def plain_type(written: str) -> str:
    """Return a type in lower case without punctuation, by its main name."""
    plain = re.sub("[^a-z0-9]", "", written.lower())
    return SPELLINGS.get(plain, plain)


def better_type(kind: str, url: str) -> Vendor | None:
    """Return the vendor whose address `url` is; None when it is that of the type `kind`, or unknown."""
    known = vendor_of_url(url)
    return None if known is None or known.name == kind or serves_host(VENDORS[kind], url) else known


def needs_protocol(kind: str, known: Vendor) -> bool:
    """Return whether a backend of the type `kind` needs `protocol: anthropic` to keep the Messages API as one of `known`."""
    return known.messages is not None and VENDORS[kind].by("anthropic") is VENDORS[kind]


def detected_type(kind: str, url: str, path: str) -> tuple[str, str]:
    """Return the type of a backend, and a warning when its URL is known to be of another type; else "".

    `path` is that of the backend in the config.
    """
    known = vendor_of_url(url)
    if known is None or known.name == kind:
        return kind, ""
    if serves_host(VENDORS[kind], url):
        # The API and the plan of one vendor, which differ in the path.
        if api_root(known, url)[0] == api_root(VENDORS[kind], url)[0]:
            return kind, ""
        return known.name, f"the url is that of {known.title}, so the type is {known.name}"
    message = f"the url is that of {known.title}. Set type: {known.name}, so that Byway sends what it accepts"
    command = f"byway config set {path}.type {known.name}"
    if needs_protocol(kind, known):
        message += ", with protocol: anthropic to keep the Messages API"
        command = f"byway config set {path}.protocol anthropic && {command}"
    return kind, f"{message}: `{command}`"


def key_warning(kind: str, key: str) -> str:
    """Return a warning about an API key whose form is that of another plan; empty for any other key."""
    owner = next((row for row in VENDORS.values() if row.key_pattern and re.search(row.key_pattern, key)), None)
    if owner is None or owner.name == kind or not VENDORS[kind].hosts:
        return ""
    return f"the API key is one of {owner.title}. Set type: {owner.name}"


def client_credential_problems(values: Mapping[str, Any], vendor: Vendor | None) -> Iterator[tuple[str, str]]:
    """Yield why the credentials of callers could go anywhere but to one confirmed server: field and message."""
    if vendor is None or not vendor.client_credentials or vendor.by(values.get("protocol", "auto")) is not vendor:
        types = ", ".join(row.name for row in VENDORS.values() if row.client_credentials)
        yield "credential", f"`client` works with the type {types} only"
    url = values.get("url") or ""
    if not url.startswith("https://") and not validators.loopback(url):
        yield "credential", "`client` needs an https:// URL, or one of this machine"
    host = urlsplit(url).hostname or ""
    if (values.get("credential_host") or "").lower() != host:
        yield "credential_host", f"set it to the host that gets the credentials of callers: {host or 'the host of url'}"
    if values.get("api_key"):
        yield "api_key", "`credential: client` sends no key of the config: remove one of them"
    for name in values.get("headers", {}):
        if name.lower() in validators.CALLER_CREDENTIALS:
            yield f"headers.{name}", "`credential: client` forwards this header of the caller"
    tls = values.get("tls")
    if tls is not None and not tls.verify:
        yield "tls.verify", "`credential: client` needs a checked certificate"
    if not values.get("models"):
        yield "models", "`credential: client` cannot list the models: name them"
