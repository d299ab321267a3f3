"""The settings of system prompts that the operator adds. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from byway.config.notes import Note

MergeStrategy = Literal["prepend", "append", "replace"]


class PromptSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A system prompt for some requests."""

    prompt: Annotated[str | None, Note("The text.")] = None
    prompt_file: Annotated[str | None, Note("File with the text. It takes precedence over `prompt`.", file=True)] = None
    merge_strategy: Annotated[
        MergeStrategy | None,
        Note("How it is combined with the client's prompt. Default: `global_prompts.merge_strategy`."),
    ] = None


class GlobalPromptSettings(msgspec.Struct, frozen=True, kw_only=True):
    """System prompts that the operator adds."""

    default: Annotated[str | None, Note("The text for requests without another one below.")] = None
    default_file: Annotated[str | None, Note("File with that text. It takes precedence over `default`.", file=True)] = (
        None
    )
    prompts_dir: Annotated[
        str | None,
        Note("The folder to which the paths of the files are relative. Default: that of the config.", file=True),
    ] = None
    merge_strategy: Annotated[
        MergeStrategy, Note("`prepend`, `append`: before or after the client's prompt. `replace`: instead of it.")
    ] = "prepend"
    separator: Annotated[str, Note("Text between the two.")] = "\n\n---\n\n"
    backends: Annotated[dict[str, PromptSettings], Note("For requests that a backend answers, by its name.")] = {}
    models: Annotated[
        dict[str, PromptSettings],
        Note("For requests that a model answers, by `backend/model` or its name. It takes precedence over `backends`."),
    ] = {}
