"""S3Storage: files as objects in a bucket, by the package obstore (the extra `s3`).

https://developmentseed.org/obstore/latest/ (0.12, seen 2026-11-30).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from byway.config import S3Settings
from byway.files.disk import DiskStorage, DiskWriter
from byway.files.protocol import PIECE, StorageError

#: Bytes of one request of an upload in several parts; S3 requires 5 MiB at least.
_PART: Final = 8 << 20
_TIMEOUT: Final = timedelta(minutes=5)
_CONNECT_TIMEOUT: Final = timedelta(seconds=10)
_INSTALL: Final = "pip install --no-deps --require-hashes -r requirements/s3.txt"


class S3Storage:
    """Objects below `prefix/folder/`. `FileStorage` describes the methods.

    A file is written to this disk first: its size and type are checked, and a client that has gone is noticed, before the
    bucket sees anything.
    """

    def __init__(self, settings: S3Settings, folder: str, outgoing: Path) -> None:
        """`outgoing` is the folder for files on their way to the bucket. Raises StorageError."""
        try:
            import obstore
            from obstore.exceptions import BaseError
            from obstore.store import S3Store
        except ImportError:
            raise StorageError(
                f"`files.storage: s3` needs the package obstore. Install the extra `s3`: {_INSTALL}"
            ) from None
        self._obstore = obstore
        self._error: type[Exception] = BaseError
        self._bucket = settings.bucket
        self._outgoing = DiskStorage(outgoing)
        # What an earlier process left there was never acknowledged.
        for name in list(self._outgoing.names()):
            self._outgoing.remove(name)
        prefix = settings.prefix.strip("/")
        options: dict[str, Any] = {}
        if settings.region:
            options["region"] = settings.region
        if settings.url:
            options["endpoint"] = settings.url
        if settings.access_key_id and settings.secret_access_key:
            options |= {"access_key_id": settings.access_key_id, "secret_access_key": settings.secret_access_key}
        try:
            self._store = S3Store(
                settings.bucket,
                prefix=f"{prefix}/{folder}" if prefix else folder,
                client_options={
                    "timeout": _TIMEOUT,
                    "connect_timeout": _CONNECT_TIMEOUT,
                    "allow_http": (settings.url or "").startswith("http:"),
                },
                retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=30)},
                **options,
            )
        except (BaseError, ValueError) as error:
            raise self.explained(error) from None

    def create(self, name: str) -> S3Writer:
        return S3Writer(self, name, self._outgoing.create(name), self._outgoing.folder / name)

    def put(self, name: str, path: Path) -> None:
        """Store the file at `path` as an object. Raises StorageError."""
        try:
            self._obstore.put(self._store, name, path, chunk_size=_PART, max_concurrency=2)
        except (self._error, OSError) as error:
            raise self.explained(error) from None

    def open(self, name: str) -> S3Reader | None:
        try:
            return S3Reader(self, self._obstore.get(self._store, name))
        except (self._error, OSError) as error:
            if isinstance(error, FileNotFoundError):
                return None
            raise self.explained(error) from None

    def remove(self, name: str) -> None:
        self._outgoing.remove(name)
        try:
            self._obstore.delete(self._store, name)
        except (self._error, OSError) as error:
            if not isinstance(error, FileNotFoundError):
                raise self.explained(error) from None

    def names(self) -> Iterator[str]:
        try:
            for page in self._obstore.list(self._store, chunk_size=1000):
                yield from (str(entry["path"]).rpartition("/")[2] for entry in page)
        except (self._error, OSError) as error:
            raise self.explained(error) from None

    def failures(self) -> tuple[type[Exception], ...]:
        """The exceptions of a call to the bucket."""
        return (self._error, OSError)

    def explained(self, error: Exception) -> StorageError:
        """A failure of the bucket as a StorageError."""
        # The first line has the reason; further ones repeat the settings.
        reason = str(error).strip().partition("\n")[0][:300]
        return StorageError(
            f"Bucket {self._bucket!r} cannot be used: {reason}. Check `files.s3` of the config, and whether its key may "
            "read, write, list and delete there."
        )


class S3Writer:
    """An object that is on its way. `StorageWriter` describes the methods."""

    def __init__(self, storage: S3Storage, name: str, writer: DiskWriter, path: Path) -> None:
        self._storage = storage
        self._name = name
        self._writer = writer
        self._path = path

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    def commit(self) -> None:
        self._writer.commit()
        self._storage.put(self._name, self._path)
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def abort(self) -> None:
        self._writer.abort()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


class S3Reader:
    """An object that is being read. `StorageReader` describes the methods."""

    def __init__(self, storage: S3Storage, answer: Any) -> None:
        self._storage = storage
        self._stream = iter(answer.stream(min_chunk_size=PIECE))
        self._rest = b""

    def read(self, size: int = PIECE) -> bytes:
        if not self._rest:
            try:
                self._rest = bytes(next(self._stream, b""))
            except self._storage.failures() as error:
                raise self._storage.explained(error) from None
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def close(self) -> None:
        self._stream = iter(())
        self._rest = b""
