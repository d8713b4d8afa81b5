"""Recorded traffic, where the environment says that it lies."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from quotalab.traces import ColumnMap, Trace, import_trace, read_trace

ORIGINS = {
    "epa_1995_08_29": "1995-08-29T23:00:00-04:00",
    "erddap_voto_2024": "2024-05-12T00:00:00+00:00",
    "azure_llm_2023_code": "2023-11-16T18:17:03.979960+00:00",
    "azure_llm_2023_conv": "2023-11-16T18:15:46.680590+00:00",
}
"""When `t` is 0, by the traces' README."""


@pytest.fixture(scope="session")
def recorded_folder() -> Path:
    """The folder of recorded data, or a skip with the reason."""
    data = os.environ.get("QUOTALAB_DATA")
    if not data:
        pytest.skip("QUOTALAB_DATA names no folder of recorded traffic")
    return Path(data)


@pytest.fixture(scope="session")
def recorded(recorded_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trace]:
    """A recorded trace by name, imported once."""
    kept: dict[str, Trace] = {}
    folder = tmp_path_factory.mktemp("traces")

    def trace(name: str) -> Trace:
        if name not in kept:
            since = datetime.datetime.fromisoformat(ORIGINS[name]) - datetime.datetime.fromtimestamp(
                0, datetime.UTC
            )
            origin_ns = (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000
            source = recorded_folder / "traces" / f"{name}.csv.gz"
            columns = ColumnMap({"time": "t"}, origin_ns=origin_ns)
            report = import_trace(source, folder / f"{name}.parquet", key=b"k" * 16, columns=columns)
            kept[name] = read_trace(report.out)
        return kept[name]

    return trace
