"""What a section `oidc` of the config needs to work. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from byway import urls
from byway.config.document import Node
from byway.config.settings import ProblemSink


def check_oidc(reader: ProblemSink, values: dict[str, Any], node: Node, path: str) -> None:
    """Report what is invalid. A secret whose variable is not set disables the section."""
    reader.disabled(values, "login by OpenID Connect")
    for field, message in oidc_problems(values):
        where = node.value.get(field.partition(".")[0], node) if isinstance(node.value, dict) else node
        reader.error(f"{path}.{field}", where.line, message)


def oidc_problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the invalid settings of the section, each with a message for a person."""
    # Few configs have the section.
    from byway.access.oidc import provider_url

    issuer, url = values.get("issuer", ""), values.get("url", "")
    if not issuer:
        yield "issuer", "required: the issuer of your identity provider, such as https://login.example.org"
        return
    try:
        parsed = provider_url(issuer, local=True)
        if parsed.query or "#" in issuer or str(parsed).rstrip("/") != issuer.rstrip("/"):
            yield "issuer", f"no provider has an issuer of this form; use {parsed.origin}{parsed.path.rstrip('/')}"
    except ValueError as error:
        yield "issuer", f"the URL {error}"
    if not values.get("client_id"):
        yield "client_id", "required: the id under which Byway is registered at the provider"
    if url:
        try:
            own = urls.parse(url)
            if own.scheme != "https" and not urls.is_loopback(own):
                yield (
                    "url",
                    "the URL must start with https://, except on this machine: http does not encrypt the login",
                )
            elif own.query or own.path != "/":
                yield "url", f"only the origin belongs here: {own.origin}. The path is `server.root_path`"
        except ValueError as error:
            yield "url", f"the URL {error}"
    roles = values.get("roles", ())
    if not roles:
        yield "roles", "required: who may log in, such as [{role: member, domains: [example.org]}]"
    for at, rule in enumerate(roles):
        if rule is not None and not (rule.emails or rule.domains or rule.groups):
            yield f"roles.{at}", "the entry matches no person: add emails, domains or groups"
        wrong = [email for email in rule.emails if "@" not in email] if rule is not None else []
        if wrong:
            yield (
                f"roles.{at}.emails",
                f"{wrong[0]!r} is not an email address; use domains for all addresses of a domain",
            )
