"""Access logs in a format of one's own, told in the words of nginx's ``log_format``.

Variables are those of nginx (nginx.org, "Alphabetical index of variables"); a trace keeps time, source,
request, status, bytes and User-Agent, and passes over the others.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from quotalab.errors import InputError
from quotalab.traces.access_logs import (
    LONGEST_LINE,
    columns_of,
    common_time_ns,
    iso_time_ns,
    one_line,
    split_request,
)
from quotalab.traces.parsed import FIRST_NS, LAST_NS, NO_BYTES, Parsed

__all__ = ["LogFormat"]

_KEPT = {
    "time_local": ("time", rb"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}"),
    "time_iso8601": ("time", rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"),
    "msec": ("time", rb"\d{1,11}\.\d{3}"),
    "remote_addr": ("source", None),
    "realip_remote_addr": ("source", None),
    "http_x_forwarded_for": ("source", None),
    "request": ("request", None),
    "request_method": ("method", None),
    "request_uri": ("path", None),
    "uri": ("path", None),
    "status": ("status", rb"\d{3}"),
    "body_bytes_sent": ("bytes", rb"\d{1,18}|-"),
    "bytes_sent": ("bytes", rb"\d{1,18}|-"),
    "http_user_agent": ("agent", None),
}
"""What each variable tells, and how it is written where that is fixed. Of two that tell the same a format's
first one counts."""
_PASSED_OVER = (
    *(
        "ancient_browser",
        "args",
        "binary_remote_addr",
        "connection",
        "connection_requests",
        "connection_time",
    ),
    *("connections_active", "content_length", "content_type", "document_root", "document_uri", "geoip_city"),
    *(
        "geoip_country_code",
        "gzip_ratio",
        "host",
        "hostname",
        "http2",
        "http3",
        "https",
        "is_args",
        "limit_rate",
    ),
    *("limit_conn_status", "limit_req_status", "modern_browser", "msie", "nginx_version", "pid", "pipe"),
    *("protocol", "proxy_add_x_forwarded_for", "proxy_host", "proxy_port", "proxy_protocol_addr"),
    *("proxy_protocol_port", "proxy_protocol_server_addr", "proxy_protocol_server_port", "query_string"),
    *(
        "realip_remote_port",
        "realpath_root",
        "remote_port",
        "remote_user",
        "request_body",
        "request_body_file",
    ),
    *(
        "request_completion",
        "request_filename",
        "request_id",
        "request_length",
        "request_port",
        "request_time",
    ),
    *("scheme", "server_addr", "server_name", "server_port", "server_protocol", "tcpinfo_rcv_space"),
    *("tcpinfo_rtt", "tcpinfo_rttvar", "tcpinfo_snd_cwnd", "uid_got", "uid_reset", "uid_set"),
)
_FAMILIES = ("arg_", "cookie_", "http_", "sent_http_", "sent_trailer_", "ssl_", "trailer_", "upstream_")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@dataclass(frozen=True)
class LogFormat:
    """A pattern for lines, and which of its groups tells what."""

    pattern: re.Pattern[bytes]
    tells: tuple[tuple[str, str], ...]
    """(what, variable) of each group."""

    @classmethod
    def parse(cls, text: str) -> LogFormat:
        """The text of a ``log_format``: variables with a dollar sign, and what stands between them.

        Raises `InputError` naming the variable that is not known, that cannot be told from its neighbour, or
        that is missing.
        """
        pieces: list[bytes] = []
        tells: list[tuple[str, str]] = []
        found = list(_VARIABLE.finditer(text))
        if not found:
            raise InputError("--log-format: has no variable, such as $remote_addr")
        end = 0
        for match, after in zip(found, [*found[1:], None], strict=True):
            name = match.group(1) or match.group(2)
            pieces.append(re.escape(text[end : match.start()].encode()))
            end = match.end()
            following = text[end : after.start() if after else len(text)]
            if after and not following:
                other = after.group(1) or after.group(2)
                raise InputError(
                    f"--log-format: nothing stands between ${name} and ${other}, so they cannot be told apart"
                )
            what, written = _known(name)
            value = written or _any_value(name, following)
            if what and what not in [told for told, _ in tells]:
                tells.append((what, name))
                pieces.append(rb"(" + value + rb")")
            else:
                pieces.append(rb"(?:" + value + rb")")
        if "time" not in [told for told, _ in tells]:
            raise InputError("--log-format: tells no time; there must be $time_local, $time_iso8601 or $msec")
        pieces.append(re.escape(text[end:].encode()))
        return cls(re.compile(b"".join(pieces)), tuple(tells))

    def __call__(self, block: bytes) -> Parsed:
        """The lines of a block; those of another format are read as such, and counted."""
        records, dropped, other = [], Counter[str](), Counter[str]()
        lines = block.split(b"\n")
        if not lines[-1]:
            lines.pop()
        for line in lines:
            match = self.pattern.fullmatch(line.rstrip(b"\r")) if len(line) < LONGEST_LINE else None
            record = self._record(match.groups()) if match else None
            if record is None:
                different = "a time that is none" if match else one_line(line)
                if isinstance(different, str):
                    unknown = different == "a line of no known format"
                    dropped["a line that --log-format does not fit" if unknown else different] += 1
                    continue
                other[different[0]] += 1
                record = different[1]
            records.append(record)
        parsed = columns_of(records, dropped)
        parsed.lines, parsed.other = len(lines), other
        return parsed

    def _record(self, values: tuple[bytes, ...]) -> tuple[Any, ...] | None:
        told: dict[str, bytes] = {}
        at_ns = None
        for (what, name), value in zip(self.tells, values, strict=True):
            if what == "time":
                at_ns = _TIMES[name](value.decode("ascii"))
            else:
                told[what] = value
        if at_ns is None or not FIRST_NS <= at_ns < LAST_NS:
            return None
        method, path = told.get("method"), told.get("path")
        if path is None and "request" in told:
            method, path = split_request(told["request"])
        size = told.get("bytes", b"-")
        return (
            at_ns,
            told.get("source"),
            method,
            None if path is None else path.partition(b"?")[0],
            int(told.get("status", b"0")),
            NO_BYTES if size == b"-" else int(size),
            told.get("agent"),
        )


_TIMES: dict[str, Callable[[str], int | None]] = {
    "time_local": lambda text: common_time_ns(text.encode("ascii")),
    "time_iso8601": iso_time_ns,
    "msec": lambda text: int(text.replace(".", "")) * 1_000_000,
}


def _known(name: str) -> tuple[str, bytes | None]:
    if name in _KEPT:
        return _KEPT[name]
    if name in _PASSED_OVER or name.startswith(_FAMILIES):
        return "", None
    near = difflib.get_close_matches(name, (*_KEPT, *_PASSED_OVER), 1)
    hint = f"did you mean ${near[0]}?" if near else "it is none of nginx's"
    raise InputError(f"--log-format: there is no variable ${name}; {hint}")


def _any_value(name: str, following: str) -> bytes:
    """Up to what follows it; nginx writes a quote inside a value as ``\\x22``."""
    if not following:
        return rb".*"
    stop = re.escape(following[0].encode()[:1])
    if name.startswith("upstream_") and following[0] == " ":  # "0.2, 0.1": one for each server that was asked
        return rb"[^ ]*(?:(?:,| :) [^ ]+)*"
    if name == "http_x_forwarded_for" and following[0] == " ":
        return rb"[^ ,]+(?:, [^ ,]+)*"
    return rb"[^" + stop + rb"]*"
