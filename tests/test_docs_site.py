"""The docs site is built by its command, and the examples of its newer pages are run."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from quotalab.cli import main
from quotalab.ledger.redaction import shown
from quotalab.traces.recorded import FACTS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def commands(page: str) -> list[list[str]]:
    """The lines of the shell blocks of a page, in order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines() if line]


def test_every_fact_of_a_recording_is_in_the_docs():
    """What a column or header may tell is listed, and nothing else is."""
    text = (DOCS / "recorded-traffic.md").read_text(encoding="utf-8")
    listed = re.search(r"holds what: (.*?)\. In a HAR", text, re.DOTALL)
    assert listed is not None
    words = ("time", "method", "path", "status", "source", "bytes", "agent")
    assert re.findall(r"`(\w+)`", listed[1]) == [*words, *FACTS]


@pytest.mark.full
def test_the_site_is_built_and_fetches_nothing(tmp_path):
    """Its links hold, each page is there, and no script, style, font or picture is from the net."""
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(site)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = {page.stem for page in site.glob("*.html")}
    assert {page.stem for page in DOCS.glob("*.md")} <= pages
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"<(?:script|img|iframe)[^>]+src=[\"']?(?:https?:)?//[^>]+", text), page
        assert not re.findall(r"<link[^>]+rel=[\"']stylesheet[\"'][^>]+href=[\"'](?:https?:)?//", text), page
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", text), style


@pytest.mark.full
def test_the_examples_of_recorded_traffic(tmp_path, monkeypatch, capsys):
    """Each command of the page judges a file of its kind."""
    monkeypatch.chdir(tmp_path)
    request = {"method": "GET", "url": "https://www.strava.com/api/v3/athlete/activities", "headers": []}
    entry = {
        "startedDateTime": "2026-03-02T09:00:00Z",
        "time": 9,
        "request": request,
        "response": {"status": 200},
    }
    Path("calls.har").write_text(json.dumps({"log": {"entries": [entry]}}))
    Path("egress.log").write_text(
        '10.0.0.1 - - [02/Mar/2026:09:00:01 +0000] "GET /user/repos HTTP/1.1" 200 12\n'
    )
    Path("calls.csv").write_text("t,url,code,user\n2026-03-02T09:00:00Z,/v1/events,200,ann\n")
    for number, command in enumerate(commands("recorded-traffic.md")):
        assert main([*command[1:], "--out", f"run{number}"]) == 0, capsys.readouterr().err
        assert Path(f"run{number}", "report.html").exists()
        capsys.readouterr()
        assert main(["report", f"run{number}"]) == 0


@pytest.mark.full
@pytest.mark.skipif(shutil.which("openssl") is None, reason="the page signs with openssl's keys")
def test_the_examples_of_evidence(tmp_path, monkeypatch, capsys):
    """A run's evidence is made, signed and checked as the page says, and holds no secret of the run."""
    monkeypatch.chdir(tmp_path)
    run = ["run", "--provider", "strava", "--for", "10h", "--users", "30", "--out", "run"]
    # In a process of its own, which takes time over.
    done = subprocess.run(
        [sys.executable, "-m", "quotalab", *run], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    for command in commands("evidence.md"):
        if command[0] == "openssl":
            subprocess.run(command, check=True, capture_output=True)
            continue
        given = ["run" if part == "runs/..." else part for part in command[1:]]
        if "--for" in given:
            given += ["--out", "evidence.zip"]
        assert main(given) == 0, capsys.readouterr().err
    assert "signed by the key given" in capsys.readouterr().out
    with zipfile.ZipFile("evidence.zip") as archive:
        for name in archive.namelist():
            if name.endswith((".csv", ".html", ".json")):
                text = archive.read(name).decode()
                # Tokens, codes and verifiers are long runs of these; hashes and operations are hexadecimal.
                long = re.findall(r"[A-Za-z0-9_~+=-]{20,}", text)
                strange = [one for one in long if shown(one) != one and not re.fullmatch(r"[0-9a-f]+", one)]
                assert not strange, (name, strange)
