"""Makes the storage that the settings name."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from byway.config import FileSettings
from byway.files.bucket import S3Storage
from byway.files.disk import DiskStorage
from byway.files.protocol import FileStorage, StorageError

#: The folder of the data folder that has the files.
FOLDER: Final = "files"


def file_storage(settings: FileSettings, data: Path, folder: str) -> FileStorage:
    """The storage below `folder`, in the data folder or in the bucket. Raises StorageError."""
    if settings.storage == "disk":
        return DiskStorage(data / FOLDER / folder)
    if settings.s3.missing:
        raise StorageError(
            f"{' and '.join(settings.s3.missing)} not set: `files.s3` of the config needs it. Set it, and restart Byway."
        )
    return S3Storage(settings.s3, folder, data / FOLDER / "outgoing")
