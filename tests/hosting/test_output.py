"""What an app in the process prints is shown as ever, and kept."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from quotalab.hosting.output import AppOutput


def replaced(monkeypatch: pytest.MonkeyPatch) -> tuple[io.BytesIO, io.BytesIO]:
    """Where standard output and error of the process go from now on."""
    shown = io.BytesIO(), io.BytesIO()
    for name, buffer in zip(("stdout", "stderr"), shown, strict=True):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(buffer, encoding="latin-1", errors="replace"))
    return shown


def kept(output: AppOutput) -> bytes:
    """All that is kept up to now."""
    return output.file.read_bytes() if output.file is not None else b""


def test_both_streams_are_shown_and_kept_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text, bytes and logs, in the stream's own encoding; afterwards all is as it was, and the file is gone."""
    streams = replaced(monkeypatch)
    before = sys.stdout, sys.stderr
    output = AppOutput()
    assert output.file is None
    print("é", "one", end="\r\n")
    sys.stderr.write("two\n")
    sys.stdout.buffer.write(b"\xff\xfe\n")
    handler = logging.StreamHandler()
    handler.emit(logging.LogRecord("app", 20, "", 0, "three %s", ("3",), None))
    sys.stdout.writelines(["four", "\n"])
    assert kept(output) == b"\xe9 one\r\ntwo\n\xff\xfe\nthree 3\nfour\n"
    assert (
        output.last()
        == "; its last output:\n  | \ufffd one\n  | two\n  | \ufffd\ufffd\n  | three 3\n  | four"
    )
    path = output.file
    output.close()
    output.close()
    assert (sys.stdout, sys.stderr) == before
    assert path is not None
    assert not path.exists()
    handler.emit(logging.LogRecord("app", 20, "", 0, "late", None, None))
    for stream in before:
        stream.flush()
    assert streams[0].getvalue() == b"\xe9 one\r\n\xff\xfe\nfour\n"
    assert streams[1].getvalue() == b"two\nthree 3\nlate\n"


def test_what_quotalab_says_itself_is_shown_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of progress is not the app's output."""
    streams = replaced(monkeypatch)
    output = AppOutput()
    output.aside(print)("0.5 of 24 h simulated")
    print("the app's")
    assert kept(output) == b"the app's\n"
    output.close()
    sys.stdout.flush()
    assert streams[0].getvalue() == b"0.5 of 24 h simulated\nthe app's\n"


def test_a_stream_of_text_alone_is_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a notebook's or a test's may be: it has no bytes under it."""
    text = io.StringIO()
    monkeypatch.setattr(sys, "stdout", text)
    output = AppOutput()
    print("é€")
    assert kept(output) == "é€\n".encode()
    output.close()
    assert text.getvalue() == "é€\n"


def test_threads_may_print_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost, and no write is torn."""
    replaced(monkeypatch)
    output = AppOutput()

    def work(name: str) -> None:
        for i in range(500):
            sys.stdout.write(f"{name} {i}\n")

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = kept(output).decode().splitlines()
    assert sorted(lines) == sorted(f"{name} {i}" for name in "abcd" for i in range(500))
    output.close()


PROGRAM = """
import sys
from quotalab.hosting.output import AppOutput
output = AppOutput()
print(sys.stdout.isatty(), sys.stdout.fileno(), sys.stdout.encoding, sys.stdout.name, flush=True)
sys.stdout.reconfigure(encoding="ascii", errors="replace")
print("\\u20ac")
print("an error", file=sys.stderr)
"""


def test_a_process_that_ends_meanwhile_has_shown_everything(tmp_path: Path) -> None:
    """The streams are what they were to whoever asks, and none is lost on the way out."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        check=False,
        env={"PYTHONUTF8": "1", "TMPDIR": str(tmp_path)},
    )
    assert (ended.returncode, ended.stderr) == (0, b"an error\n")
    assert ended.stdout == b"False 1 utf-8 <stdout>\n?\n"
