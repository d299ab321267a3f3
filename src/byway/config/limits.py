"""The sections `limits` and `rate_limiting`: their types. `limitchecks` has the checks."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from byway.config.notes import MaskedStruct, Note

LimitSubject = Literal["key", "account", "group", "organization", "model", "backend", "address", "global"]
"""What has a count of its own."""
Period = Literal["day", "week", "month"]


class RateLimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A token bucket."""

    requests_per_second: Annotated[float, Note("Rate at which the bucket fills. `0`: no limit.")] = 0
    burst_capacity: Annotated[
        int, Note("Capacity of the bucket: requests that can arrive at once. `0`: one second's worth.")
    ] = 0


class RateLimitBuckets(msgspec.Struct, frozen=True, kw_only=True):
    """Token buckets of clients, backends, keys and models."""

    per_client: Annotated[
        RateLimitSettings | None, Note("For each client: by its key, and without a key by its address.")
    ] = None
    per_backend: Annotated[RateLimitSettings | None, Note("For each backend.")] = None
    per_api_key: Annotated[RateLimitSettings | None, Note("For each key.")] = None
    per_model: Annotated[RateLimitSettings | None, Note("For each model of a backend.")] = None
    all: Annotated[RateLimitSettings | None, Note("For all requests together.")] = msgspec.field(
        default=None, name="global"
    )


class RateLimitingSettings(MaskedStruct, frozen=True, kw_only=True):
    """Limits on the rate of requests, in the form of the reference router."""

    enabled: Annotated[bool, Note("Enables this section.")] = False
    storage: Annotated[Literal["memory", "redis"], Note("Where the counts are kept. Only `memory` is supported.")] = (
        "memory"
    )
    limits: Annotated[RateLimitBuckets, Note("The token buckets.")] = RateLimitBuckets()
    whitelist: Annotated[
        tuple[str, ...], Note("Addresses and networks of clients that this section does not limit.", format="cidr")
    ] = ()
    bypass_keys: Annotated[
        tuple[str, ...],
        Note("Values of keys that this section does not limit: `${ADMIN_KEY}`.", format="secret", variables=True),
    ] = ()
    use_rightmost_xff: Annotated[
        bool,
        Note(
            "`true`: the client is the last address in `X-Forwarded-For` that is no trusted proxy. `false`: the first "
            "address, which a client can choose."
        ),
    ] = True


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A limit on requests, tokens, concurrency or money."""

    subject: Annotated[
        LimitSubject,
        Note("What is limited. `group` and `organization` are those of the caller's account. Required."),
    ] = msgspec.field(default="global", name="for")
    name: Annotated[
        str,
        Note(
            "The names it applies to: one name, or a pattern such as `team-*`. Each name has a count of its own. Default: all."
        ),
    ] = "*"
    requests_per_minute: Annotated[int | None, Note("Requests per minute.", minimum=1)] = None
    tokens_per_minute: Annotated[
        int | None,
        Note("Input and output tokens per minute. Tokens that are read from a cache do not count.", minimum=1),
    ] = None
    input_tokens_per_minute: Annotated[
        int | None, Note("Input tokens per minute, without those that are read from a cache.", minimum=1)
    ] = None
    output_tokens_per_minute: Annotated[int | None, Note("Output tokens per minute.", minimum=1)] = None
    concurrency: Annotated[
        int | None, Note("Requests in progress at once. A stream counts until its end.", minimum=1)
    ] = None
    budget: Annotated[float | None, Note("US dollars per `period`.", minimum=0.001)] = None
    period: Annotated[Period, Note("The period of `budget`, in UTC. A week starts on Monday.")] = "month"
