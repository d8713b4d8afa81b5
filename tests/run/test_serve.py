"""The sandbox stand-alone: a real process on real sockets, and the run folder that it leaves."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import queue
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest
from tests.needed import RedisServer, need

from quotalab.browser import Browser
from quotalab.ledger import Call, LedgerTables, read_ledger
from quotalab.profiles.loading import load_provider
from quotalab.run.serve import ServeOptions, _Console
from quotalab.workspace import Workspace

ROOT = Path(__file__).parents[2]
CALLBACK = "http://127.0.0.1:8123/callback"
VERIFIER = "a-verifier-of-43-characters-or-more-Zx9_~.-1"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
STATE = "xJ4-state_0123456789~abcdef"
INSTANT = ("--set", "latency.median=0s")
PATIENCE_S = 30
HEAD = re.compile(r"time +kind +call")


class StandAlone:
    """``quotalab sandbox`` in a process of its own, as far as somebody at its terminal sees it."""

    def __init__(self, out: Path, *arguments: str, quiet: bool = False) -> None:
        self.folder = out
        self.command = ["sandbox", "--provider", "temporary-production", "--redirect-uri", CALLBACK]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "quotalab", *self.command, "--out", str(out), *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.out = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        last = "test person" if quiet else "time "
        while not self.line().startswith(last):
            pass
        self.exports = {
            name: shlex.split(value)[0] if value else ""
            for name, value in re.findall(r"^export (\w+)=(.*)$", self.out, re.MULTILINE)
        }
        self.http = httpx.Client(base_url=self.exports["ISSUER"], timeout=PATIENCE_S)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def line(self) -> str:
        """The next line that it prints."""
        line = self._lines.get(timeout=PATIENCE_S)
        assert line is not None, self.process.stderr.read() if self.process.stderr else ""
        self.out += line
        return line

    def passwords(self) -> dict[str, str]:
        """The test people."""
        return dict(re.findall(r"^(p\d+) +(\S+)$", self.out, re.MULTILINE))

    def query(self, **more: str) -> str:
        """An authorization request's query."""
        return urlencode(
            {
                "response_type": "code",
                "client_id": self.exports["CLIENT_ID"],
                "redirect_uri": CALLBACK,
                "scope": self.exports["SCOPE"],
                "state": STATE,
                "code_challenge": CHALLENGE,
                "code_challenge_method": "S256",
                **more,
            }
        )

    def code(self, person: str = "p00001") -> str:
        """Let a person sign in and consent in a browser; the code that the app is sent."""
        with httpx.HTTPTransport() as transport:
            browser = Browser(transport, person, self.passwords()[person])
            address = browser.visit(f"{self.exports['AUTHORIZATION_ENDPOINT']}?{self.query()}", CALLBACK)
        return dict(parse_qsl(urlsplit(address).query))["code"]

    def redeem(self, code: str) -> dict[str, Any]:
        """The tokens for a code."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": VERIFIER,
        }
        answer = self.http.post(
            self.exports["TOKEN_ENDPOINT"],
            data=form,
            auth=(self.exports["CLIENT_ID"], self.exports["CLIENT_SECRET"]),
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def call(self, token: str, path: str = "/events") -> httpx.Response:
        """A call to the API."""
        return self.http.get(self.exports["API_BASE"] + path, headers={"Authorization": f"Bearer {token}"})

    def raw(self, data: bytes) -> bytes:
        """Send bytes, and read until the other side closes."""
        parts = urlsplit(self.exports["ISSUER"])
        with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE_S) as connection:
            answer = b""
            with contextlib.suppress(OSError):  # it closed with something still to read, or to be sent
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while part := connection.recv(65536):
                    answer += part
        return answer

    def end(self, number: int = signal.SIGINT) -> int:
        """Send a signal; the exit code. `out` and `err` are then whole."""
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        while (line := self._lines.get(timeout=PATIENCE_S)) is not None:
            self.out += line
        assert self.process.stderr is not None
        assert self.process.stdout is not None
        self.err = self.process.stderr.read()
        self.process.stderr.close()
        self.process.stdout.close()
        return code

    @property
    def description(self) -> dict[str, Any]:
        """The folder's `run.json`."""
        return json.loads((self.folder / "run.json").read_text(encoding="utf-8"))

    def tables(self) -> LedgerTables:
        """The ledger."""
        return read_ledger(self.folder)


@pytest.fixture
def stand(tmp_path: Path):
    """Starts sandboxes, and ends those that the test has not."""
    started: list[StandAlone] = []

    def start(*arguments: str, quiet: bool = False) -> StandAlone:
        started.append(StandAlone(tmp_path / f"out-{len(started)}", *INSTANT, *arguments, quiet=quiet))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.end(signal.SIGKILL)


# ---- what it says, and what an app can do with it


def test_an_app_comes_from_the_printed_lines_to_a_call_and_the_folder_is_judged(stand, call) -> None:
    """Sign in, consent, token, call, live line, Ctrl-C, Parquet, report: exit 0 and NA for operations."""
    one = stand()
    tokens = one.redeem(one.code())
    answer = one.call(tokens["access_token"])
    assert answer.status_code == 200
    lines = []
    while not lines or " api " not in lines[-1]:
        lines.append(one.line())
    kinds = [line.split()[1] for line in lines]
    assert kinds == ["authorize", "authorize", "authorize", "authorize", "token", "api"]
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3}  api         GET /v1/events +p00001    200     hourly 99/100\n", lines[-1]
    )
    assert one.end() == 0, one.err
    assert one.err == ""
    assert one.out.strip().splitlines()[-1] == str(one.folder)
    kept = one.description
    assert kept["complete"] is True
    assert (kept["scenario"], kept["seed"], kept["clock"], kept["app"]) == (
        "stand-alone",
        None,
        "real",
        "unknown",
    )
    assert sorted(path.name for path in one.folder.glob("*.parquet")) == [
        "calls.parquet",
        "events.parquet",
        "operations.parquet",
    ]
    assert not list(one.folder.glob("*.arrows"))
    judged = call("report", str(one.folder))
    assert judged.code == 0, judged.err
    assert "over 1 call to the API." in judged.out
    verdicts = {
        rule["id"]: rule["verdict"]
        for rule in json.loads((one.folder / "verdict.json").read_text(encoding="utf-8"))["rules"]
    }
    assert {verdicts["QL501"], verdicts["QL502"]} == {"NA"}
    assert verdicts["QL101"] == "PASS"


def test_an_overrun_is_shown_as_it_comes_and_fails_the_report(stand, call) -> None:
    """The line of a refused call names the limit, what is left is counted down, and the report exits 1."""
    one = stand("--set", "limits.hourly.limit=2")
    token = one.redeem(one.code())["access_token"]
    assert [one.call(token).status_code for _ in range(3)] == [200, 200, 429]
    told = []
    while len(told) < 3:
        line = one.line()
        if " api " in line:
            told.append(line.split("p00001")[1].split())
    assert told == [
        ["200", "hourly", "1/2"],
        ["200", "hourly", "0/2"],
        ["429", "hourly", "0/2;", "refused", "by", "hourly"],
    ]
    assert one.end() == 0
    judged = call("report", str(one.folder))
    assert judged.code == 1, judged.err
    assert "FAIL: QL101 quota-overrun is broken, over 3 calls to the API." in judged.out


def test_the_export_lines_are_for_a_shell(stand) -> None:
    """A shell that reads them has what was printed, word for word."""
    one = stand()
    exports = "\n".join(line for line in one.out.splitlines() if line.startswith("export "))
    done = subprocess.run(
        ["sh", "-eu", "-c", f'{exports}\nprintf "%s|" "$ISSUER" "$API_BASE" "$CLIENT_ID" "$CLIENT_SECRET" "$SCOPE" "$TEST_PASSWORD"'],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    said = [one.exports[name] for name in ("ISSUER", "API_BASE", "CLIENT_ID", "CLIENT_SECRET", "SCOPE")]
    assert done.stdout == "|".join([*said, one.passwords()["p00001"], ""])


def test_every_sandbox_has_secrets_of_its_own(stand, call) -> None:
    """The operating system's randomness, always: two never agree, and no option can make them."""
    first, second = stand(), stand()
    assert first.exports["CLIENT_SECRET"] != second.exports["CLIENT_SECRET"]
    assert not set(first.passwords().values()) & set(second.passwords().values())
    assert len(set(first.passwords().values())) == 10
    assert "--seed" not in call("sandbox", "--help").out
    assert call("sandbox", "--provider", "github", "--seed", "1").code == 2


def test_consent_is_given_at_once_where_that_was_asked_for(stand) -> None:
    """--consent auto: one redirect, as the first person or as login_hint says; others have to sign in."""
    one = stand("--consent", "auto", "--people", "3")
    people = []
    for hint in ({}, {"login_hint": "p00003"}):
        answer = one.http.get(f"{one.exports['AUTHORIZATION_ENDPOINT']}?{one.query(**hint)}")
        assert answer.status_code == 303
        back = dict(parse_qsl(urlsplit(answer.headers["location"]).query))
        assert back["state"] == STATE
        token = one.redeem(back["code"])["access_token"]
        people.append(one.call(token).status_code)
    unknown = one.http.get(f"{one.exports['AUTHORIZATION_ENDPOINT']}?{one.query(login_hint='p00004')}")
    assert (unknown.status_code, "location" in unknown.headers) == (200, False)
    elsewhere = one.query(redirect_uri="http://127.0.0.1:8123/elsewhere")
    wrong = one.http.get(f"{one.exports['AUTHORIZATION_ENDPOINT']}?{elsewhere}")
    assert (wrong.status_code, "location" in wrong.headers) == (400, False)
    assert people == [200, 200]
    assert one.end() == 0
    calls = one.tables().calls.to_pylist()
    assert [row["person"] for row in calls if row["kind"] == "api"] == ["p00001", "p00003"]


def test_quiet_tells_of_no_call(stand) -> None:
    """--quiet: what an app has to know, and at the end the folder."""
    one = stand("--quiet", quiet=True)
    one.http.get("/nowhere")
    assert one.end() == 0
    assert "/nowhere" not in one.out
    assert one.out.endswith(f"\n\n{one.folder}\n")


def test_a_reader_that_goes_away_does_not_end_it(tmp_path: Path) -> None:
    """`quotalab sandbox | head`: nobody reads any more, and calls are answered and recorded all the same."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "quotalab", "sandbox", "--provider", "github", "--out", str(tmp_path / "out")],
        cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(writing)
    with os.fdopen(reading) as lines:
        issuer = next(line for line in lines if line.startswith("export ISSUER=")).strip().partition("=")[2]
        while not lines.readline().startswith("time "):
            pass
    statuses = [httpx.get(f"{issuer}/nowhere").status_code for _ in range(3)]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert statuses == [401, 401, 401]
    assert len(read_ledger(tmp_path / "out").calls) == 3
    assert json.loads((tmp_path / "out" / "run.json").read_text())["complete"] is True


# ---- how it ends


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "SIGHUP"])
def test_signals_close_the_folder_well(stand, number: int) -> None:
    """Also while a connection is kept open and another has sent half a request."""
    one = stand()
    assert one.http.get("/nowhere").status_code == 401
    parts = urlsplit(one.exports["ISSUER"])
    with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE_S) as half:
        half.sendall(b"POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\ngrant")
        kept = one.http
        one.http = httpx.Client()
        assert one.end(number) == 0, one.err
        kept.close()
    assert one.description["complete"] is True
    assert len(one.tables().calls) == 1


def test_kill_9_leaves_a_folder_that_can_be_judged(stand, call) -> None:
    """What was flushed is there, and the report says that the run was cut."""
    one = stand("--set", "limits.hourly.limit=1000")
    token = one.redeem(one.code())["access_token"]
    for _ in range(300):
        assert one.call(token).status_code == 200
    assert one.end(signal.SIGKILL) == -signal.SIGKILL
    tables = one.tables()
    assert tables.torn
    assert 305 - 256 < len(tables.calls) <= 305  # at most the last batch is lost, and that is not whole
    judged = call("report", str(one.folder))
    assert judged.code == 0, judged.err
    assert "This run was cut" in judged.out


@pytest.mark.full
def test_a_full_disk_ends_it_with_one_clear_line(tmp_path: Path) -> None:
    """What cannot be recorded is not served: exit 2, and the file is named."""
    command = [sys.executable, "-m", "quotalab", "sandbox", "--provider", "github", "--quiet"]
    process = subprocess.Popen(
        ["sh", "-c", 'ulimit -f 80; exec "$@"', "sh", *command, "--out", str(tmp_path / "out")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    issuer = (
        next(line for line in process.stdout if line.startswith("export ISSUER=")).strip().partition("=")[2]
    )
    try:
        with httpx.Client(base_url=issuer, timeout=PATIENCE_S) as client:
            for i in range(20_000):
                client.get(f"/nowhere/{i}", headers={"Accept": f"text/x-{i}"})
    except httpx.TransportError:
        pass
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2, err
    assert re.fullmatch(
        r"quotalab: \S+/calls\.0\.arrows: cannot be written: File too large", err.strip().splitlines()[-1]
    )
    assert "Traceback" not in err


# ---- wrong calls


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--provider", "nowhere"], "provider 'nowhere': is not in profiles/providers/"),
        (["--provider", "github", "--set", "limits.core.limit=-1"], "limits.core.limit: must be a whole number"),
        (["--provider", "github", "--host", "0.0.0.0"],
         "--host 0.0.0.0: others than this machine could reach it; add --allow-remote to let them"),
        (["--provider", "github", "--host", "192.0.2.1", "--allow-remote"],
         "--host 192.0.2.1: is no address of this machine's"),
        (["--provider", "github", "--host", "no.such.host.test", "--allow-remote"],
         "--host no.such.host.test: is no address of this machine's"),
        (["--provider", "github", "--port", "65536"], "must be a whole number from 0 (a free one) to 65535"),
        (["--provider", "github", "--port", "http"], "must be a whole number from 0 (a free one) to 65535"),
        (["--provider", "github", "--people", "0"], "must be a whole number from 1"),
        (["--provider", "github", "--redirect-uri", "/callback"], "--redirect-uri: must be an absolute URI"),
        (["--provider", "github", "--redirect-uri", "http://a.test/#b"], "--redirect-uri: must be an absolute URI"),
        (["--provider", "github", "--redirect-uri", "http://[a.test/"], "--redirect-uri: must be an absolute URI"),
        (["--provider", "github", "--redirect-uri", "javascript:alert(1)"], "--redirect-uri: must be an absolute"),
        (["--provider", "github", "--redis", "http://127.0.0.1"], "--redis: must be an address such as redis://"),
        (["--provider", "github", "--redis", "redis://127.0.0.1:1/0"], "127.0.0.1:1 can't be asked"),
        ([], "the following arguments are required: --provider"),
    ],
)  # fmt: skip
def test_a_wrong_call_gets_one_clear_line(call, tmp_path: Path, arguments: list[str], told: str) -> None:
    """The line names what was wrong and what would be right; no traceback, exit 2, no folder."""
    ended = call("sandbox", *arguments, "--out", str(tmp_path / "out"))
    assert ended.code == 2, ended.err
    assert told in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""
    assert not (tmp_path / "out").exists()


def test_a_port_in_use_is_named(call, tmp_path: Path) -> None:
    """One line, exit 2, and no folder."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = call("sandbox", "--provider", "github", "--port", str(port), "--out", str(tmp_path / "out"))
    assert ended.code == 2
    assert ended.err == f"quotalab: --port {port}: is in use; name another one, or none for a free one\n"
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_named(call, tmp_path: Path) -> None:
    """A file where a folder should go, and a folder that holds something."""
    (tmp_path / "file").write_text("kept")
    ended = call("sandbox", "--provider", "github", "--out", str(tmp_path / "file" / "out"))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"quotalab: {tmp_path}/file/out: cannot be made: ")
    ended = call("sandbox", "--provider", "github", "--out", str(tmp_path))
    assert (ended.code, ended.out) == (2, "")
    assert "is not empty" in ended.err
    assert (tmp_path / "file").read_text() == "kept"


# ---- hostile clients


def test_nothing_a_client_sends_acts_on_the_terminal_or_ends_the_sandbox(stand) -> None:
    """Escape sequences, direction marks, no HTTP at all, half requests: written out or left out; exit 0."""
    one = stand()
    one.raw(b"GET /a%1b%5b2J%e2%80%aeb%0d%0aforged HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    said = next(line for line in iter(one.line, "") if " api " in line)
    assert r"GET /a\x1b[2J\u202eb\x0d\x0aforged" in said
    secret = b"Bearer-of-a-secret-9fQ2"
    for data in (b"\x16\x03\x01" + secret, b"GET\r\n\r\n", secret * 2000 + b"\r\n\r\n", b"GET / HTTP/9 " + secret + b"\r\n\r\n",
                 b"POST /oauth/token HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + secret,
                 b"GET / HTTP/1.1\r\nContent-Length: " + secret + b"\r\n\r\n"):  # fmt: skip
        one.raw(data)
    assert one.http.get("/nowhere").status_code == 401
    assert one.end() == 0
    assert not {"\x1b", "\u202e"} & set(one.out)
    assert secret.decode() not in one.out + one.err
    assert one.err == ""


def test_no_secret_is_in_the_output_or_in_the_folder(stand) -> None:
    """Of all that was secret only the client's own and the passwords are printed, and nothing is written."""
    one = stand()
    code = one.code()
    tokens = one.redeem(code)
    one.call(tokens["access_token"])
    one.http.get(f"/v1/{tokens['access_token']}", params={"access_token": tokens["access_token"]})
    assert one.end() == 0
    found = b"".join(path.read_bytes() for path in one.folder.rglob("*") if path.is_file())
    found += repr(
        [getattr(one.tables(), name).to_pylist() for name in ("calls", "events", "operations")]
    ).encode()
    printed = (one.out + one.err).encode()
    for secret in (code, tokens["access_token"], tokens["refresh_token"], VERIFIER, STATE):
        assert secret.encode() not in printed
        assert secret.encode() not in found
    for secret in (one.exports["CLIENT_SECRET"], *one.passwords().values()):
        assert secret.encode() not in found
    assert printed.count(one.exports["CLIENT_SECRET"].encode()) == 1


def test_without_a_redirect_uri_an_app_may_wait_for_the_code_on_any_port(tmp_path: Path) -> None:
    """RFC 8252, 7.3: the loopback address with whatever port is free; any other path is refused."""
    process = subprocess.Popen(
        [sys.executable, "-m", "quotalab", "sandbox", "--provider", "temporary-production", "--consent", "auto",
         "--out", str(tmp_path / "out"), *INSTANT],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert list(iter(process.stdout.readline, "\n"))  # the head
    exports = iter(process.stdout.readline, "\n")
    said = dict(line.removeprefix("export ").strip().split("=", 1) for line in exports)
    asked = {
        "response_type": "code",
        "client_id": said["CLIENT_ID"],
        "scope": shlex.split(said["SCOPE"])[0],
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    statuses = [
        httpx.get(
            said["AUTHORIZATION_ENDPOINT"], params={**asked, "redirect_uri": uri}, timeout=PATIENCE_S
        ).status_code
        for uri in (
            "http://127.0.0.1:49152/callback",
            "http://127.0.0.1/callback",
            "http://127.0.0.1:49152/other",
        )
    ]
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE_S)
    assert statuses == [303, 303, 400]


def test_many_connections_at_once_meet_no_error(stand) -> None:
    """Sixteen at a time, 400 calls: each is answered, recorded, and told of."""
    one = stand("--set", "limits.hourly.limit=1000")
    token = one.redeem(one.code())["access_token"]
    statuses: list[int] = []

    def work() -> None:
        with httpx.Client(base_url=one.exports["API_BASE"], timeout=PATIENCE_S) as client:
            for _ in range(25):
                answer = client.get("/events", headers={"Authorization": f"Bearer {token}"})
                statuses.append(answer.status_code)

    workers = [threading.Thread(target=work) for _ in range(16)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert one.end() == 0
    assert statuses == [200] * 400
    assert len([line for line in one.out.splitlines() if re.search(r" api +GET ", line)]) == 400


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "::1"])
def test_other_addresses_of_this_machine_need_no_leave(stand, host: str) -> None:
    """Loopback is not the network; the printed address can be reached."""
    if host == "::1":
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("this machine has no IPv6")
    one = stand("--host", host)
    assert one.http.get("/.well-known/oauth-authorization-server").json()["issuer"] == one.exports["ISSUER"]


# ---- limits in Redis


@pytest.fixture
def redis(tmp_path: Path):
    """One that the test may kill."""
    one = RedisServer(tmp_path)
    yield one
    one.kill()


@pytest.mark.full
def test_two_sandboxes_share_the_limits_of_one_provider(stand, redis, call) -> None:
    """What one admits the other counts; each folder says that it is a part, and is judged without a fault."""
    secret = "pass-9fQ2"
    url = f"redis://default:{secret}@127.0.0.1:{redis.port}/0"
    subprocess.run(["redis-cli", "-p", str(redis.port), "config", "set", "requirepass", secret], check=True,
                   capture_output=True)  # fmt: skip
    both = [
        stand("--set", "limits.hourly.limit=3", *given) for given in (("--redis", url), (f"--redis={url}",))
    ]
    tokens = [one.redeem(one.code())["access_token"] for one in both]
    statuses = [both[i % 2].call(tokens[i % 2]).status_code for i in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    for one in both:
        assert one.end() == 0, one.err
        assert "state-shared" in one.tables().events.column("what").to_pylist()
        assert call("report", str(one.folder)).code == 1
        assert not any(
            secret.encode() in path.read_bytes() for path in one.folder.rglob("*") if path.is_file()
        )
        assert secret not in one.out + one.err


def test_without_redis_nothing_is_admitted_until_it_is_back(stand, redis) -> None:
    """503 in the provider's own shape, an event, and recovery."""
    one = stand("--set", "limits.hourly.limit=3", "--redis", f"redis://127.0.0.1:{redis.port}/0#mine")
    token = one.redeem(one.code())["access_token"]
    assert one.call(token).status_code == 200
    redis.kill()
    lost = one.call(token)
    assert lost.status_code == 503
    assert lost.json()["error"] == "temporarily_unavailable"
    assert "limits is out of reach" in lost.json()["message"]
    redis.start()
    assert one.call(token).status_code == 200
    assert one.end() == 0, one.err
    assert one.err == ""
    calls = [row["status"] for row in one.tables().calls.to_pylist() if row["kind"] == "api"]
    assert calls == [200, 503, 200]
    what = [name for name in one.tables().events.column("what").to_pylist() if name.startswith("state-")]
    assert what == ["state-shared", "state-lost", "state-lost", "state-back"]


# ---- docs/sandbox.md


GUIDE = (ROOT / "docs" / "sandbox.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The guide's examples in a language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


def run_with(one: StandAlone, command: list[str], **more: str) -> str:
    """What a program prints that has the exports in its environment."""
    done = subprocess.run(
        command, env={**os.environ, **one.exports, **more}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_guides_examples_work_as_printed(stand) -> None:
    """curl, Python and Node, word for word, one after another against one sandbox."""
    for tool in ("curl", "openssl", "node"):
        need(tool, shutil.which(tool))
    one = stand("--consent", "auto")
    script = "\n".join(["set -eu", *blocks("sh"), 'echo; echo "token $token"'])
    printed = run_with(one, ["sh", "-c", script])
    assert '"openapi":"3.1.1"' in printed
    assert '"events":[' in printed
    assert f"{one.exports['AUTHORIZATION_ENDPOINT']}?response_type=code&client_id=app-1&" in printed
    assert run_with(one, [sys.executable, "-c", *blocks("python")]) == "50 events\n"
    token = printed.rpartition("token ")[2].strip()
    assert run_with(one, ["node", "--input-type=module", "-e", *blocks("js")], TOKEN=token) == "50 events\n"
    assert one.end() == 0
    statuses = [row["status"] for row in one.tables().calls.to_pylist()]
    assert set(statuses) == {200, 303}


def test_the_guide_names_every_option(call) -> None:
    """Those of --help, and no others."""
    help_text = call("sandbox", "--help").out
    known = set(re.findall(r"--[a-z-]+", help_text)) - {"--help"}
    told = set(re.findall(r"`(--[a-z-]+)", "".join(re.findall(r"^\|.*$", GUIDE, re.MULTILINE))))
    told |= set(re.findall(r" (--[a-z-]+)", "".join(re.findall(r"^\|.*$", GUIDE, re.MULTILINE))))
    assert known - {"--provider"} == told


# ---- the lines themselves


def a_call(**changed: Any) -> Call:
    """A call to the API, answered 200."""
    fields: dict[str, Any] = dict.fromkeys(Call._fields)
    fields |= {
        "at": 1_767_571_200_123_999_999,
        "kind": "api",
        "method": "GET",
        "path": "/v1/events",
        "status": 200,
    }
    fields |= {"person": "p00001", "keys": (), "charges": (), "remaining": (("hourly", 7),)}
    return Call(**{**fields, **changed})


@pytest.mark.parametrize(
    ("changed", "rest"),
    [
        ({}, "GET /v1/events                          p00001    200     hourly 7/100"),
        ({"person": None, "status": 401, "error": "invalid_token", "remaining": ()},
         "GET /v1/events                          -         401     invalid_token"),
        ({"path": "/" + "x" * 100, "remaining": ()},
         "GET /xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...  p00001    200"),
        ({"status": 503, "error": "error", "fault": "storm"},
         "GET /v1/events                          p00001    503     hourly 7/100; error; fault storm"),
    ],
)  # fmt: skip
def test_a_line_says_who_called_what_and_what_is_left(changed: dict[str, Any], rest: str) -> None:
    """Time to the millisecond, rounded down; columns that keep their places."""
    shown: list[str] = []
    provider = load_provider(Workspace.find(ROOT), "temporary-production")
    console = _Console(provider, shown.append, colour=False)
    console.heard.append(a_call(**changed))
    console.flush()
    console.flush()
    assert shown == [f"00:00:00.123  api         {rest}\n"]


def test_colours_are_for_terminals(tmp_path: Path) -> None:
    """Only where asked for: green, yellow, red by the status."""
    shown: list[str] = []
    provider = load_provider(Workspace.find(ROOT), "temporary-production")
    console = _Console(provider, shown.append, colour=True)
    console.heard += [a_call(status=status) for status in (200, 404, 429, 500)]
    console.flush()
    assert re.findall(r"\x1b\[(\d+)m(\d+)\x1b\[0m", shown[0]) == [
        ("32", "200"),
        ("33", "404"),
        ("31", "429"),
        ("31", "500"),
    ]


def test_options_have_safe_defaults() -> None:
    """Loopback, a free port, consent asked for."""
    options = ServeOptions("github")
    assert (options.host, options.port, options.allow_remote, options.consents) == (
        "127.0.0.1",
        0,
        False,
        False,
    )
