"""What a section `server.tls` of the config needs to work. Pure."""

from __future__ import annotations

from typing import Any

from byway.config.document import Node
from byway.config.settings import ProblemSink


def check_server_tls(reader: ProblemSink, values: dict[str, Any], node: Node, path: str) -> None:
    """Report settings that do not fit together."""
    if values.get("local_ca"):
        for name in ("cert_file", "key_file", "key_passphrase"):
            if values.get(name):
                reader.error(f"{path}.{name}", node.line, "does not fit with local_ca: remove one of them")
    elif not values.get("cert_file"):
        reader.error(
            path,
            node.line,
            "needs a certificate: set cert_file and key_file, or local_ca: true for one that Byway makes",
        )
