"""Problem, the one error type of the line, and the table that says what each kind means to client and router.

The wire types and statuses are those of https://docs.anthropic.com/en/api/errors (seen 2026-11-20). What a client does
with each was measured with Claude Code 2.1.329. No HTTP here: `endpoints` turn a Problem into an answer or an event.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Kind = Literal[
    "invalid_request",
    "policy_blocked",
    "prompt_too_long",
    "authentication",
    "billing",
    "permission",
    "not_found",
    "model_not_found",
    "no_endpoint",
    "method",
    "stale",
    "too_large",
    "coding",
    "rate_limit",
    "quota",
    "limit",
    "budget",
    "forbidden",
    "overloaded",
    "busy",
    "loading",
    "refused",
    "unreachable",
    "upstream",
    "broken",
    "timeout",
    "stopping",
    "misdirected",
    "not_supported",
    "internal",
]


class Row(NamedTuple):
    """What a kind means: HTTP status, wire type, who has to act, may the next target be tried, may this one again."""

    status: int
    type: str
    blame: Literal["client", "backend", "operator", "byway"]
    failover: bool = False
    again: bool = False
    retry: bool | None = None
    """What `x-should-retry` says; None leaves it to the client's own rule."""


TABLE: Final[dict[Kind, Row]] = {
    "invalid_request": Row(400, "invalid_request_error", "client"),
    # A rule of this Byway's owner. With any other status Claude Code would show a wrong sentence, or ask again.
    "policy_blocked": Row(400, "policy_blocked", "client", retry=False),
    "prompt_too_long": Row(400, "invalid_request_error", "client"),
    "authentication": Row(401, "authentication_error", "client", retry=False),
    "billing": Row(402, "billing_error", "operator", failover=True, retry=False),
    "permission": Row(403, "permission_error", "client"),
    "not_found": Row(404, "not_found_error", "client"),
    # The backend does not know the model that the config names for it: another target may.
    "model_not_found": Row(404, "not_found_error", "operator", failover=True),
    # The backend has no embeddings, images, or audio: another target may.
    "no_endpoint": Row(404, "not_found_error", "operator", failover=True, retry=False),
    "method": Row(405, "invalid_request_error", "client"),
    # The page, or a program, has changed what somebody else had changed since it was loaded.
    "stale": Row(412, "invalid_request_error", "client", retry=False),
    "too_large": Row(413, "request_too_large", "client"),
    "coding": Row(415, "invalid_request_error", "client", retry=False),
    "misdirected": Row(421, "permission_error", "client", retry=False),
    "rate_limit": Row(429, "rate_limit_error", "backend", failover=True, again=True),
    # The limit of a plan, which a retry of the next minutes does not change.
    "quota": Row(429, "rate_limit_error", "operator", failover=True, retry=False),
    # A limit of Byway's own config. The next target may have room; the backend did nothing wrong.
    "limit": Row(429, "rate_limit_error", "operator", failover=True),
    "budget": Row(429, "billing_error", "operator", failover=True, retry=False),
    # The provider does not serve this country, client or plan: its key is good.
    "forbidden": Row(403, "permission_error", "operator", failover=True, retry=False),
    "overloaded": Row(529, "overloaded_error", "backend", failover=True, again=True),
    # All slots of the backend are in use (`backends[].max_concurrent`): no failure, so no cool-down.
    "busy": Row(529, "overloaded_error", "byway", failover=True),
    # A local model that is being read from disk: the client waits and asks again.
    "loading": Row(503, "overloaded_error", "backend", failover=True),
    # The backend refuses *our* secret. As a 401 the client would retry for 190 s and blame its own key.
    "refused": Row(502, "api_error", "operator", failover=True, retry=False),
    "unreachable": Row(502, "api_error", "backend", failover=True, again=True),
    "upstream": Row(502, "api_error", "backend", failover=True, again=True),
    "broken": Row(502, "api_error", "backend", failover=True),
    "timeout": Row(504, "timeout_error", "backend", failover=True),
    "stopping": Row(529, "overloaded_error", "byway"),
    # An endpoint of Anthropic's API that Byway does not have. The client asks once.
    "not_supported": Row(501, "not_supported", "client", retry=False),
    "internal": Row(500, "api_error", "byway"),
}

#: Claude Code gives up at once when `retry-after` is above about a minute (measured: 59 obeyed, 75 not).
LONGEST_WAIT: Final = 59
MESSAGE_LIMIT: Final = 4096
"""Letters of a message that are shown."""
_KEPT: Final = 1 << 16


class Problem(Exception):
    """Something that the client, the operator or a backend has to hear about, in words that say what to do.

    `retry_after` is in seconds. `retry` overrides the table's `x-should-retry`. `facts` carries numbers that other code
    reads (`status` of the upstream, `tokens`, `window`); they are logged and never shown to the client.
    """

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        retry_after: float | None = None,
        retry: bool | None = None,
        facts: dict[str, int | str] | None = None,
    ) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        # It is cut to what is shown only after it was cleared of secrets: half a secret would not be known as one.
        self.message = message[:_KEPT]
        self.row = TABLE[kind]
        self.status = self.row.status
        """The HTTP status for the client: another one for a client that hides the message of this one."""
        self.retry_after = retry_after
        self.retry = self.row.retry if retry is None else retry
        self.facts = facts or {}
        self.headers: tuple[tuple[bytes, bytes], ...] = ()
        """Further headers of the answer to the client."""

    def __repr__(self) -> str:
        return f"Problem({self.kind!r}, {self.message!r})"
