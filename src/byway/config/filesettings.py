"""The settings of uploaded files. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from byway.config.notes import MaskedStruct, Note


class S3Settings(MaskedStruct, frozen=True, kw_only=True):
    """A bucket for files."""

    bucket: Annotated[str, Note("The bucket. It must exist. Required with `storage: s3`.", restart=True)] = ""
    prefix: Annotated[
        str, Note("Start of the names of Byway's objects. Byway removes other objects below it.", restart=True)
    ] = "byway"
    region: Annotated[
        str | None, Note("The region of the bucket. Default: `AWS_REGION`, else `us-east-1`.", restart=True)
    ] = None
    url: Annotated[
        str | None,
        Note(
            "URL of a storage that is compatible with S3, such as MinIO. Default: that of AWS.",
            format="url",
            variables=True,
            restart=True,
        ),
    ] = None
    access_key_id: Annotated[
        str | None,
        Note(
            "Default: the variables `AWS_ACCESS_KEY_ID` and so on, or the role of the machine.",
            variables=True,
            restart=True,
        ),
    ] = None
    secret_access_key: Annotated[
        str | None, Note("The secret of that key.", format="secret", variables=True, restart=True)
    ] = None
    missing: Annotated[
        tuple[str, ...], Note("Environment variables that are not set: the storage is disabled.", internal=True)
    ] = ()


class FileSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Files that clients upload."""

    enabled: Annotated[bool, Note("`false`: files cannot be uploaded or used. Files that exist stay.")] = True
    storage: Annotated[
        Literal["disk", "s3"],
        Note("Where the files are kept: in the data folder, or in a bucket (needs the extra `s3`).", restart=True),
    ] = "disk"
    max_file_size: Annotated[int, Note("The largest file.", format="size", minimum=1, maximum=5 << 30)] = 500 << 20
    quota: Annotated[
        int, Note("All files of an account, or of a key without account.", format="size", maximum=1 << 60)
    ] = 10 << 30
    total_quota: Annotated[int, Note("All files of all clients.", format="size", maximum=1 << 60)] = 100 << 30
    expires_after: Annotated[
        float,
        Note(
            "Files are removed after this time, or earlier when the client requests it. `0`: never.", format="duration"
        ),
    ] = 0.0
    s3: Annotated[S3Settings, Note("The bucket for `storage: s3`.")] = S3Settings()
