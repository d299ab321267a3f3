"""A small MCP server on stdin and stdout (JSON-RPC, a line each): a tool that says a word, and one that gives a picture."""

import base64
import json
import sys
import zlib


def png() -> bytes:
    """A red square, 32 pixels wide."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + check

    size = (32).to_bytes(4, "big")
    rows = (b"\0" + b"\xff\0\0" * 32) * 32
    head = chunk(b"IHDR", size + size + b"\x08\x02\0\0\0")
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


TOOLS = [
    {
        "name": name,
        "description": value,
        "inputSchema": {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "properties": {"word": {"type": "string", "pattern": "^[a-z]+$"}},
        },
    }
    for name, value in (("say_widget", "Says something of widgets."), ("draw_widget", "Draws a widget."))
]


def answer(method: str, params: dict) -> dict:
    if method == "initialize":
        version = params.get("protocolVersion", "2025-06-18")
        return {
            "protocolVersion": version,
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "demo", "version": "1"},
        }
    if method == "tools/list":
        return {"tools": TOOLS}
    if method == "tools/call" and params["name"] == "draw_widget":
        return {"content": [{"type": "image", "mimeType": "image/png", "data": base64.b64encode(png()).decode()}]}
    if method == "tools/call":
        return {"content": [{"type": "text", "text": f"the widget says {params['arguments'].get('word')}"}]}
    return {}


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        if "id" in request:
            table = {
                "jsonrpc": "2.0",
                "id": request["id"],
                "result": answer(request["method"], request.get("params", {})),
            }
            sys.stdout.write(json.dumps(table) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
