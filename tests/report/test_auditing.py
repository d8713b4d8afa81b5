"""Recorded traffic, judged: against what was recorded, and against a run of our own."""

import datetime
import json

import pytest

from quotalab.cli import main
from quotalab.errors import InputError
from quotalab.frames import load
from quotalab.frames.limits import limit_uses
from quotalab.frames.recorded import record_run
from quotalab.report.auditing import AuditOptions, audit, record
from quotalab.report.judging import judge_run
from quotalab.rules import judge, load_rules
from quotalab.rules.witnesses import NEEDS, WORDS
from quotalab.traces.recorded import RecordingMap, read_recording

START = datetime.datetime(2026, 3, 2, 9, tzinfo=datetime.UTC)
CANARY = "CANARYq8Xv2nT5wLz0"


def har(path, calls):
    """A HAR file of (second, status, retry-after or None, person)."""
    entries = []
    for at_s, status, wait, person in calls:
        got = [] if wait is None else [{"name": "Retry-After", "value": str(wait)}]
        sent = [
            {"name": "Authorization", "value": f"Bearer {CANARY}{person}"},
            {"name": "X-User", "value": f"{person}@{CANARY}.example"},
            {"name": "Cookie", "value": f"sid={CANARY}"},
        ]
        entries.append(
            {
                "startedDateTime": (START + datetime.timedelta(seconds=at_s)).isoformat(),
                "time": 100,
                "request": {
                    "method": "GET",
                    "url": f"https://api.example.com/v1/events?q={CANARY}{at_s}",
                    "headers": sent,
                },
                "response": {"status": status, "headers": got, "content": {"size": 1}},
            }
        )
    path.write_text(json.dumps({"log": {"entries": entries}}))
    return path


def audited(file, workspace, out, columns=None, headers=None, **more):
    """The verdict, without a report."""
    mapped = RecordingMap.parse(columns, headers)
    record(AuditOptions(file, "temporary-production", out, mapped, **more), workspace)
    return judge(load(out), load_rules(workspace.rule_files()))


@pytest.fixture(scope="module")
def overrun(tmp_path_factory, workspace):
    """(folder, verdict) of 100 calls let through, two refused, and one that came too early."""
    folder = tmp_path_factory.mktemp("audit")
    calls = [(i + 0.5, 200, None, f"p{i % 4}") for i in range(100)]
    calls += [(200.5, 429, 3000, "p0"), (300.5, 429, 2900, "p1"), (3700.5, 200, None, "p2")]
    mapped = RecordingMap.parse(None, "person=x-user")
    file = har(folder / "a.har", calls)
    verdict = audit(AuditOptions(file, "temporary-production", folder / "run", mapped), workspace)
    return folder / "run", verdict


def verdicts(verdict):
    return {result.rule.id: result.verdict for result in verdict.rules}


def test_refusals_are_overruns(overrun):
    """Calls answered 429 are refused calls, of the limit that the judges' arithmetic finds full."""
    _, verdict = overrun
    found = verdicts(verdict)
    assert found["QL101"] == "FAIL"
    (use,) = verdict.limits
    assert (use.limit.name, use.peak_asked, use.refused) == ("hourly", 102, 2)
    assert verdict.metrics["refused"] == 2
    assert verdict.faults == ()
    assert found["QL201"] == "WARN"  # p1 called within the 3000 s that p0 had been promised


def test_rules_that_need_a_run_say_so(overrun):
    """A rule that would have to guess is NA, and its note says what it lacks."""
    _, verdict = overrun
    notes = {result.rule.id: result.judgement.note for result in verdict.rules if result.verdict == "NA"}
    assert notes["QL401"] == (
        "needs a run against the sandbox, or a recording that tells authorization requests and how they ended"
    )
    assert {"QL501", "QL701", "QL320", "QL406", "QL109"} <= set(notes)


def test_every_rule_says_what_it_needs(workspace):
    """No bundled rule is missing from the table, and none in it is unknown."""
    assert set(NEEDS) == {rule.id for rule in load_rules(workspace.rule_files())}
    assert {what for needs in NEEDS.values() for what in needs} == set(WORDS)


def test_run_folder_is_judged_again_the_same(overrun, workspace):
    """`quotalab report` works on what an audit leaves, and says the same."""
    folder, verdict = overrun
    assert judge_run(folder, workspace).as_document() == verdict.as_document()
    assert (folder / "report.html").stat().st_size > 10_000


def test_nothing_recorded_is_kept_in_the_clear(overrun):
    """Tokens, cookies, people's names and query values of the recording are in no file of the run folder."""
    folder, _ = overrun
    for path in folder.rglob("*"):
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path
    calls = load(folder).calls
    assert sorted(calls["person"].cat.categories) == ["person-1", "person-2", "person-3", "person-4"]


def test_addresses_in_paths_are_not_kept(tmp_path, workspace):
    """A segment of a path that holds somebody's address is replaced."""
    (tmp_path / "a.csv").write_text("time,path,status\n1,/v1/users/ann@a.example/events,200\n")
    audited(tmp_path / "a.csv", workspace, tmp_path / "run")
    assert list(load(tmp_path / "run").calls["path"]) == ["/v1/users/[redacted]/events"]


def test_let_through_beyond_the_limit(tmp_path, workspace):
    """101 calls within an hour that the provider let through are an overrun of the profile's limit too."""
    calls = [(i + 0.5, 200, None, "p") for i in range(100)]
    assert verdicts(audited(har(tmp_path / "a.har", calls), workspace, tmp_path / "a"))["QL101"] == "PASS"
    calls.append((3600.4, 200, None, "p"))
    verdict = audited(har(tmp_path / "b.har", calls), workspace, tmp_path / "b")
    (result,) = [one for one in verdict.rules if one.rule.id == "QL101"]
    assert result.verdict == "FAIL"
    assert "101 were asked of 'hourly'" in result.judgement.findings[0].message
    calls[-1] = (3600.5, 200, None, "p")  # the first has left the window
    assert verdicts(audited(har(tmp_path / "c.har", calls), workspace, tmp_path / "c"))["QL101"] == "PASS"


def test_clock_backwards_and_duplicates(tmp_path, workspace):
    """Calls are sorted by time and counted once, and the notes say so with the first entry."""
    calls = [(1.5, 200, None, "p"), (2.5, 200, None, "p"), (2.5, 200, None, "p"), (1.75, 200, None, "p")]
    verdict = audited(har(tmp_path / "a.har", calls), workspace, tmp_path / "run")
    assert verdict.metrics["calls"] == 3
    assert [note for note in verdict.notes if "first in entry" in note] == [
        "the clock runs backwards 1 times, first in entry 4: calls were sorted by time, and what lies between "
        "them may be wrong",
        "1 calls were there twice, first in entry 3, and count once",
    ]


def test_per_person_limits_by_a_column(tmp_path, workspace):
    """A limit kept for each person counts by the mapped column; without one it counts nothing, and says so."""
    rows = "".join(f"{i},/v1/events,200,{'ann' if i % 3 else 'bob'}\n" for i in range(30))
    (tmp_path / "a.csv").write_text("time,path,status,who\n" + rows)
    settings = ('limits.hourly.key=["person"]',)
    verdict = audited(tmp_path / "a.csv", workspace, tmp_path / "a", columns="person=who", settings=settings)
    (use,) = verdict.limits
    assert (use.keys, use.peak_asked, use.worst_key) == (2, 20, "person-2")
    verdict = audited(tmp_path / "a.csv", workspace, tmp_path / "b", settings=settings)
    assert verdict.limits[0].peak_asked == 0
    assert any("counts by person, which the recording does not tell of 30 calls" in n for n in verdict.notes)
    assert verdicts(verdict)["QL106"] == "NA"


def test_what_no_limit_can_count_is_no_pass(tmp_path, workspace):
    """Where no limit's key was recorded nothing is claimed; a refusal is one all the same."""
    settings = ('limits.hourly.key=["person"]',)
    (tmp_path / "a.csv").write_text("time,path,status\n1,/v1/events,200\n2,/v1/events,200\n")
    found = verdicts(audited(tmp_path / "a.csv", workspace, tmp_path / "a", settings=settings))
    assert {found[id] for id in ("QL101", "QL102")} == {"NA"}
    (tmp_path / "b.csv").write_text("time,path,status\n1,/v1/events,200\n2,/v1/events,429\n")
    verdict = audited(tmp_path / "b.csv", workspace, tmp_path / "b", settings=settings)
    assert (verdicts(verdict)["QL101"], verdict.metrics["refused"]) == ("FAIL", 1)


def test_agrees_with_a_run_of_our_own(naive, workspace, tmp_path):
    """The calls of a run, exported and audited, have the run's own peaks and refusals."""
    folder, verdict = naive
    frames = load(folder)
    api = frames.api_calls
    lines = [
        json.dumps({"time": int(at), "method": method, "path": path, "status": int(status), "person": person})
        for at, method, path, status, person in zip(
            api["at"], api["method"].astype(str), api["path"].astype(str), api["status"],
            api["person"].astype(str), strict=True,
        )
    ]  # fmt: skip
    file = tmp_path / "calls.jsonl"
    file.write_text("\n".join(lines) + "\n")
    calls, reading = read_recording(file, RecordingMap.parse("person=person", unit="ns"))
    record_run(
        calls, reading, frames.provider, tmp_path / "run",
        app="app", rules={}, settings=(), command=(), sha256="",
    )  # fmt: skip
    again = load(tmp_path / "run")
    assert [(use.peak_asked, use.refused) for use in again.once(limit_uses)] == [
        (use.peak_asked, use.refused) for use in verdict.limits
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.log", "no log at all\n", "no line of it is a call"),
        ("a.har", '{"log": {"entries": [', "no entry of it is a call"),
        ("a.csv", "a,b\n1,2\n", "no column holds times"),
        ("a.log", "", "no line of it is a call"),
    ],
)
def test_broken_files_exit_2_and_leave_nothing(tmp_path, capsys, monkeypatch, name, text, message):
    """Broken input is one clear message and exit 2, and no run folder is left."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(text)
    assert main(["audit", name, "--provider", "temporary-production", "--out", "run"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_wrong_app(tmp_path, workspace):
    """An app without a name is refused."""
    with pytest.raises(InputError, match="--app: must be a name"):
        audited(tmp_path / "a", workspace, tmp_path / "run", app=" ")


# ---- what bodies tell


def entry(at_s, method, url, *, sent="", headers=(), status=200, got=(), answer=None):
    """An entry of a HAR file with its bodies."""
    return {
        "startedDateTime": (START + datetime.timedelta(seconds=at_s)).isoformat(),
        "time": 100,
        "request": {
            "method": method,
            "url": url,
            "headers": [{"name": name, "value": value} for name, value in headers],
            "postData": {"text": sent},
        },
        "response": {
            "status": status,
            "headers": [{"name": name, "value": value} for name, value in got],
            "content": {"size": 1, "text": "" if answer is None else json.dumps(answer)},
        },
    }


def entries(path, *found):
    path.write_text(json.dumps({"log": {"entries": found}}))
    return path


HOST = "https://api.example.com"
GRANTED = {"token_type": "Bearer", "expires_in": 3600}


def test_a_har_files_bodies_tell_how_tokens_were_got_and_renewed(tmp_path, workspace):
    """A weak state, no PKCE, a secret sent twice, and a refresh token used again are found; no secret is kept."""
    secret = f"{CANARY}secret"
    asked = f"{HOST}/authorize?response_type=code&client_id=a&state=abc&scope=nothing-known"
    end = ("Location", f"https://app.test/cb?code={CANARY}code&state=abc")
    basic = [("Authorization", f"Basic {CANARY}basic")]
    both = f"grant_type=authorization_code&code={CANARY}code&client_id=a&client_secret={secret}"
    again = f"grant_type=refresh_token&refresh_token={CANARY}r1"
    file = entries(
        tmp_path / "calls.har",
        entry(0, "GET", asked),
        entry(5, "POST", f"{HOST}/consent", status=302, got=[end]),
        entry(
            6,
            "POST",
            f"{HOST}/token",
            sent=both,
            headers=basic,
            answer={**GRANTED, "access_token": f"{CANARY}a1", "refresh_token": f"{CANARY}r1"},
        ),
        entry(7, "GET", f"{HOST}/v1/events", headers=[("Authorization", f"Bearer {CANARY}a1")]),
        entry(
            3600,
            "POST",
            f"{HOST}/token",
            sent=again,
            answer={**GRANTED, "access_token": f"{CANARY}a2", "refresh_token": f"{CANARY}r2"},
        ),
        entry(3700, "GET", f"{HOST}/v1/events", headers=[("Authorization", f"Bearer {CANARY}a2")]),
        entry(3800, "POST", f"{HOST}/token", sent=again, status=400, answer={"error": "invalid_grant"}),
    )
    folder = tmp_path / "run"
    found = verdicts(audited(file, workspace, folder))
    told = {id: found[id] for id in ("QL303", "QL304", "QL401", "QL404", "QL405", "QL412", "QL413", "QL414")}
    assert told == {
        "QL303": "FAIL",
        "QL304": "PASS",
        "QL401": "FAIL",
        "QL404": "WARN",
        "QL405": "NA",
        "QL412": "PASS",
        "QL413": "PASS",
        "QL414": "FAIL",
    }
    calls = load(folder).calls
    assert calls["kind"].tolist() == ["authorize", "api", "token", "api", "token", "api", "token"]
    both_tokens = calls["person"].iloc[[0, 2, 3, 4, 5, 6]]
    assert both_tokens.nunique() == 1  # one grant, whatever tokens it has had
    assert calls["oauth:scopes_asked"].iloc[0] == "[other]"
    assert calls["oauth:client_auth"].iloc[2] == "basic post"
    assert calls["oauth:issued_token"].iloc[4] == calls["token"].iloc[5]
    for one in folder.rglob("*"):
        assert one.is_dir() or CANARY.encode() not in one.read_bytes()


def test_token_requests_without_their_answers_are_not_judged(tmp_path, workspace):
    """Whether a token came of them nobody recorded, so that the rules on grants are NA."""
    sent = "grant_type=refresh_token&refresh_token=r1"
    file = entries(tmp_path / "calls.har", *(entry(i, "POST", f"{HOST}/token", sent=sent) for i in range(3)))
    found = verdicts(audited(file, workspace, tmp_path / "run"))
    assert {found[id] for id in ("QL302", "QL303", "QL304", "QL412")} == {"NA"}


@pytest.mark.parametrize(
    ("answer", "refused"), [({"ok": False, "error": "ratelimited"}, 1), ({"ok": True}, 0)]
)
def test_a_refusal_that_is_answered_200_is_known_by_its_body(tmp_path, workspace, answer, refused):
    """Slack may say in the body that a limit refused."""
    url = "https://slack.com/api/conversations.list"
    file = entries(
        tmp_path / "calls.har",
        entry(0, "GET", url, headers=[("Authorization", "Bearer t"), ("X-Team", "one")], answer=answer),
    )
    folder = tmp_path / "run"
    record(AuditOptions(file, "slack", folder, RecordingMap.parse(None, "tenant=x-team")), workspace)
    assert int(load(folder).calls["limit"].notna().sum()) == refused
