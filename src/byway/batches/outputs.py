"""Writes the results of OpenAI's batches to files of their owner, once."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Final

import msgspec

from byway.batches.batch import Rest, StoredBatch
from byway.batches.lines import OpenAIDetail, output_line
from byway.batches.store import BatchStore
from byway.files.service import FileService, Upload

PURPOSE: Final = "batch_output"
#: The last files of the owner among which a file is looked for that an earlier process has written.
_LOOKED_AT: Final = 1_000
_decode: Final = msgspec.json.Decoder(OpenAIDetail).decode


async def store_outputs(files: FileService, store: BatchStore, batch: StoredBatch, rest: Rest) -> str:
    """Write the output file and the error file of a batch, those that it needs. Returns its new detail. Raises Problem."""
    detail = _decode(batch.detail)
    output_file = error_file = ""
    if batch.succeeded:
        output_file = await _store_file(files, store, batch, rest, detail, succeeded=True)
    if batch.total > batch.succeeded:
        error_file = await _store_file(files, store, batch, rest, detail, succeeded=False)
    complete = msgspec.structs.replace(detail, output_file=output_file, error_file=error_file)
    return msgspec.json.encode(complete).decode()


async def _store_file(
    files: FileService, store: BatchStore, batch: StoredBatch, rest: Rest, detail: OpenAIDetail, *, succeeded: bool
) -> str:
    """Write one of the files. Returns its id."""
    filename = f"{batch.id}_{'output' if succeeded else 'error'}.jsonl"
    # A process that was killed between the file and the end of the batch has written it already.
    records, _ = await files.page(batch.owner, _LOOKED_AT, purpose=PURPOSE)
    for record in records:
        if record.filename == filename:
            return record.id
    async with aclosing(await files.begin(batch.owner, "file-")) as upload:
        upload.name(filename, "application/jsonl")
        await _write_lines(upload, store, batch, rest, succeeded=succeeded)
        return (await upload.finish(expires_in=detail.output_expires, purpose=PURPOSE)).id


async def _write_lines(upload: Upload, store: BatchStore, batch: StoredBatch, rest: Rest, *, succeeded: bool) -> None:
    pages = (
        b"".join(output_line(batch, result, rest) for result in page if (result.kind == "succeeded") == succeeded)
        for page in store.results(batch)
    )
    while (lines := await asyncio.to_thread(next, pages, None)) is not None:
        if lines:
            await upload.write(lines)
