"""Checks of `files`: what its storage needs, and sizes that fit together. Pure."""

from __future__ import annotations

from typing import Any

from byway.config.document import Node
from byway.config.filesettings import FileSettings, S3Settings
from byway.config.settings import ProblemSink


def check_files(reader: ProblemSink, values: dict[str, Any], node: Node, path: str) -> None:
    """Report a bucket that is missing, and limits that no file can reach."""
    bucket: S3Settings = values.get("s3", S3Settings())
    if values.get("storage") == "s3" and not bucket.bucket:
        reader.error(f"{path}.s3.bucket", node.line, "required with `storage: s3`: the name of a bucket that exists")
    if not bucket.missing and bool(bucket.access_key_id) != bool(bucket.secret_access_key):
        message = "access_key_id and secret_access_key belong together: set both, or neither"
        reader.error(f"{path}.s3", node.line, message)
    default = FileSettings()
    largest = values.get("max_file_size", default.max_file_size)
    for name in ("quota", "total_quota"):
        if values.get(name, getattr(default, name)) < largest:
            reader.warn(
                f"{path}.{name}", node.line, "it is smaller than max_file_size, so no file of that size fits in it"
            )
