"""What one block says in chat form: texts and image parts. Where they stand in the conversation is `conversation`'s."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from byway.messages import (
    Base64Source,
    Block,
    ContentSource,
    Document,
    FileSource,
    Image,
    Text,
    TextSource,
    ToolReference,
    Unknown,
    UrlSource,
    unopened,
)
from byway.problems import Problem


class Part(Struct, omit_defaults=True):
    """A part of a message's content."""

    type: str
    text: str | None = None
    image_url: dict[str, str] | None = None


def parts(block: Block) -> Sequence[str | Part]:
    """What a user's block says: texts and images. A block that chat has no form for is kept as text."""
    if type(block) is Text:
        return (block.text,) if block.text else ()
    match block:
        case Image(Base64Source(kind, data)):
            return (Part("image_url", image_url={"url": f"data:{kind};base64,{data}"}),)
        case Image(UrlSource(url)):
            return (Part("image_url", image_url={"url": url}),)
        case Document(TextSource(data), title):
            return (f"{title}\n\n{data}" if title else data,)
        case Document(ContentSource(content)):
            return (content,) if isinstance(content, str) else [one for inner in content or () for one in parts(inner)]
        case Document(UrlSource(url), title):
            return (f"[document {title or ''} {url}]",)
        case Document(source=Base64Source(kind)):
            return (f"[{kind} document, which this backend cannot read]",)
        case Image(FileSource()) | Document(FileSource()):
            raise Problem("invalid_request", "source.type: 'file' needs the Files API, which Byway does not have yet")
        case ToolReference(name):
            return (f"Tool {name} is loaded.",)
        case Unknown(_, raw):
            return (unopened(raw, "content").decode(),)
        case _:
            return ()
