"""Whether a secret stands in what quotalab itself has written: looked for before a run is closed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from quotalab.aftermath import Patterns
from quotalab.ledger import RunFolder
from quotalab.sandbox import Sandbox

__all__ = ["search_own_output"]

MOST_BYTES = 128 * 2**20
_MOST_TOLD = 20


def search_own_output(folder: RunFolder, sandbox: Sandbox, app_log: pa.Table | None) -> None:
    """Search the ledger's streams (flushed), the inputs and `app_log`; writes events.

    What is found is a fault of the sandbox's.
    """
    patterns = Patterns(sandbox.secrets)
    found, whole = 0, True
    told: set[tuple[str, str, str]] = set()
    size = 0
    texts = _texts(folder, app_log)
    for file, data in texts:
        size += len(data)
        if size > MOST_BYTES:
            whole = False
            break
        for _, kind, encoding in patterns.find(data):
            found += 1
            told.add((file, kind, encoding))
    for file, kind, encoding in sorted(told)[:_MOST_TOLD]:
        sandbox.event("secret-in-own-output", file=file, kind=kind, encoding=encoding)
        sandbox.faults.append(f"a secret ({kind}, {encoding}) was written to {file} of the run folder")
    sandbox.event(
        "own-output-searched",
        tables=3 + (app_log is not None),
        inputs=sum(1 for _ in folder.inputs.iterdir()) + 1,
        secrets=patterns.kinds,
        found=found,
        whole=whole,
    )


def _texts(folder: RunFolder, app_log: pa.Table | None) -> Iterator[tuple[str, bytes]]:
    """What is written in the clear, with the file that it is in; the ledger last."""
    for path in sorted((*folder.inputs.iterdir(), folder.path / "run.json")):
        yield path.name, path.read_bytes()
    if app_log is not None:
        for batch in app_log.to_batches():
            for data in _of_batch(batch):
                yield "applog.parquet", data
    for path in sorted(folder.path.glob("*.arrows")):
        for batch in _batches(path):
            for data in _of_batch(batch):
                yield f"{path.name.partition('.')[0]}.parquet", data


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    """As far as the stream is flushed: it is not closed yet, and one without rows has not even begun."""
    with pa.OSFile(str(path)) as file:
        try:
            reader = pa.ipc.open_stream(file)
            while True:
                yield reader.read_next_batch()
        except (StopIteration, pa.ArrowException, EOFError, OSError):
            return


def _of_batch(batch: pa.RecordBatch) -> Iterator[bytes]:
    for column in batch.columns:
        yield from _of_array(column)


def _of_array(array: pa.Array) -> Iterator[bytes]:
    """All text of an array, whatever it is nested in."""
    if pa.types.is_string(array.type):
        data = array.buffers()[2]
        if data is not None:
            yield data.to_pybytes()
    elif pa.types.is_struct(array.type):
        for i in range(array.type.num_fields):
            yield from _of_array(array.field(i))
    elif pa.types.is_map(array.type):
        yield from _of_array(array.keys)
        yield from _of_array(array.items)
