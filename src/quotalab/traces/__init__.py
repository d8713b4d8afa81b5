"""Recorded traffic: read from logs, written as traces, measured."""

from quotalab.traces.importing import FORMATS, ImportReport, import_trace
from quotalab.traces.log_formats import LogFormat
from quotalab.traces.naming import Naming, load_naming
from quotalab.traces.records import ColumnMap
from quotalab.traces.trace import Trace, read_trace

__all__ = [
    "FORMATS",
    "ColumnMap",
    "ImportReport",
    "LogFormat",
    "Naming",
    "Trace",
    "import_trace",
    "load_naming",
    "read_trace",
]
