"""The contract of a wire protocol, and the values that pass through it. No I/O.

A module of this package satisfies `BackendProtocol`; mypy checks it where `PROTOCOLS` is defined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, Protocol

import msgspec

from byway.backends.vendors import Vendor
from byway.call import Call
from byway.messages.events import Part, Usage
from byway.messages.pdf import PdfText
from byway.messages.request import Request
from byway.problems import Problem

ModelUse = Literal["answers", "embeddings", "reranking"]
"""What a model that Byway runs is for."""


class Target(msgspec.Struct, frozen=True, gc=False):
    """A backend and one of its models, with what is known of the model."""

    backend: str
    """The name of the configured backend."""
    model: str
    """The name of the model at the backend."""
    vendor: Vendor
    window: int | None = None
    """Tokens of the context window; None: unknown."""
    tools: bool | None = None
    """The template of the model renders tools; None: unknown."""
    vision: bool | None = None
    """The model sees images; None: unknown."""
    max_output: int | None = None
    """The most tokens of one answer; None: unknown."""
    pdfs: Mapping[str, PdfText] | None = None
    """The texts of the request's PDFs by their base64 data, for a backend that takes no files."""
    key: bytes = b""
    """Signs thinking blocks of this backend. Another backend has another key."""
    like: str = ""
    """The model that `model` stands for, such as that of a deployment; empty: its name says it."""

    @property
    def family(self) -> str:
        """The name by which the rules of the vendor apply."""
        return self.like or self.model


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """The facts of one attempt to answer a request at one target."""

    estimate: int = 0
    """Byway's estimate of the tokens of the prompt; 0: none was made."""
    room: int | None = None
    """The tokens that the context window has left for the answer, where a refusal has named the numbers."""
    repairs: tuple[str, ...] = ()
    """Changes of the call's body that refusals have named: see `backends.repairs`."""


FIRST: Final = Attempt()


class ModelFacts(msgspec.Struct, frozen=True):
    """What a backend reports of one model. None, or an empty text: it reports nothing."""

    window: int | None = None
    tools: bool | None = None
    vision: bool | None = None
    max_output: int | None = None
    """The most tokens of one answer."""
    source: Literal["", "config", "backend", "learned", "vendor"] = ""
    """Where the window comes from: the config, the backend, a refusal of a prompt that did not fit, or the vendor's row."""
    description: str = ""
    input_price: float | None = None
    """US dollars for a million tokens of the prompt."""
    output_price: float | None = None
    """US dollars for a million tokens of the answer."""

    def over(self, other: ModelFacts) -> ModelFacts:
        """Return these facts, with those of `other` where these are unknown."""
        known = self if self.window is not None else other
        return ModelFacts(
            known.window,
            other.tools if self.tools is None else self.tools,
            other.vision if self.vision is None else self.vision,
            other.max_output if self.max_output is None else self.max_output,
            known.source,
            self.description or other.description,
            other.input_price if self.input_price is None else self.input_price,
            other.output_price if self.output_price is None else self.output_price,
        )


class AnswerReader(Protocol):
    """Reads the bytes of one answer and returns events. `close` raises Problem when the answer was cut or has failed."""

    @property
    def finished(self) -> bool:
        """The answer is complete: call `close`, even if the backend sends more."""

    @property
    def estimated(self) -> bool:
        """After `close`: the backend reported no usage, so the counts are estimates."""

    @property
    def reasoning(self) -> int:
        """The output tokens that were reasoning, as far as the backend has reported them."""

    def spent(self, size: int) -> Usage:
        """The tokens of an answer that was cut after `size` bytes: reported, or estimated."""

    def feed(self, data: bytes) -> Sequence[Part]: ...

    def close(self) -> Sequence[Part]: ...

    def read_error(self, body: bytes) -> bool:
        """Read the body of an error response. True: it holds an answer, which `close` returns."""


class BackendProtocol(Protocol):
    """A wire protocol: builds calls and reads answers. A module satisfies it."""

    @property
    def NATIVE(self) -> bool:
        """The protocol is the Messages API itself: requests and answers pass through unchanged."""

    def passes(self, request: Request, target: Target) -> bool:
        """Return whether the client's own body goes to `target`, where it is of another API than Messages."""

    def request(self, request: Request, target: Target, attempt: Attempt = FIRST) -> Call: ...

    def reader(self, request: Request, target: Target, attempt: Attempt = FIRST) -> AnswerReader: ...

    def problem(self, status: int, headers: Mapping[str, str], body: bytes, target: Target) -> Problem:
        """The Problem of a response that is not a success."""

    def count(self, request: Request, target: Target) -> Call | None:
        """The call that counts tokens; None: the backend cannot count."""

    def read_count(self, body: bytes) -> int: ...

    def models(self) -> Call:
        """The call for the first page of the list of models."""

    def next_models(self, body: bytes) -> Call | None:
        """The call for the page after `body`; None at the end of the list."""

    def read_models(self, body: bytes) -> dict[str, ModelFacts]:
        """The models of one page, and what the list reports of each."""

    def describe(self, target: Target) -> tuple[Call, ...]:
        """The calls for the pages that describe one model, the best one first."""

    def read_description(self, body: bytes, target: Target) -> ModelFacts: ...
