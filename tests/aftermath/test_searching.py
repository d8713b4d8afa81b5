"""Secrets are found wherever they stand in a file, and files that are nobody's business are not opened."""

from __future__ import annotations

import base64
import io
import os
import random
from urllib.parse import quote

import pytest

from quotalab.aftermath import AppFiles, Patterns, Searched, search_file, searching

TOKEN = "k3Jd-92_sLqPw0xZb7Vn4TyRf6Hg1CmEaUoIiKjDlQs"
SPACED = "p w+d/with=odd&characters%"


def lines(text: bytes, secrets=None, **more):
    hits, _, _ = Patterns(secrets or {TOKEN: "access token"}).search(io.BytesIO(text), 2**30, **more)
    return [(hit.line, hit.kind, hit.encoding) for hit in hits]


@pytest.mark.parametrize("before", ["", "x", "xy", "app-1:", "Bearer "])
@pytest.mark.parametrize("after", ["", "z", "zz"])
def test_a_secret_is_found_in_every_form_between_anything(before, after):
    """As it is, percent-encoded byte by byte, in both alphabets of base64, at each of its three alignments."""
    text = (before + TOKEN + after).encode()
    assert lines(b"\n\n" + text) == [(3, "access token", "plain")]
    every = "".join(f"%{byte:02x}" for byte in TOKEN.encode())
    assert lines(before.encode() + every.encode()) == [(1, "access token", "percent-encoded")]
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        assert lines(b"a\nx=" + encode(text) + b"\n") == [(2, "access token", "base64")]


def test_a_secret_with_odd_characters_is_found_percent_encoded():
    """As a form or a query would hold it."""
    text = f"q={quote(SPACED, safe='')}".encode()
    assert lines(text, {SPACED: "client secret"}) == [(1, "client secret", "percent-encoded")]


def test_what_is_no_secret_is_not_found():
    """A token with one letter changed, one cut short, and words that are too short to be secrets."""
    assert lines(TOKEN[:-1].encode() + b"!" + TOKEN[1:].encode()) == []
    assert lines(b"secret password", {"password": "client secret"}) == []
    assert lines(b"anything", {"": "x"}) == []


def test_chunks_and_lines_agree_with_the_plain_way(monkeypatch):
    """Small chunks, many secrets at random places, ends of chunks among them: each is found once."""
    draw = random.Random(2)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    secrets = {"".join(draw.choices(alphabet, k=43)): f"k{i}" for i in range(30)}
    for chunk in (97, 256, 4096):
        monkeypatch.setattr(searching, "_CHUNK", chunk)
        parts, expected = [], []
        for secret in draw.choices(list(secrets), k=60):
            parts += ["".join(draw.choices("ab\n", k=draw.randrange(40))), secret]
            expected.append((1 + "".join(parts).count("\n"), secrets[secret], "plain"))
        assert lines("".join(parts).encode(), secrets) == expected
        assert lines("".join(parts).encode(), secrets, line=11) == [(n + 10, *rest) for n, *rest in expected]


def test_reading_ends_where_it_is_told_to(monkeypatch):
    """What lies beyond is not looked at, and the number of bytes says so."""
    monkeypatch.setattr(searching, "_CHUNK", 64)
    text = b"x" * 200 + TOKEN.encode()
    patterns = Patterns({TOKEN: "t"})
    assert patterns.search(io.BytesIO(text), 200)[::2] == ([], 200)
    assert len(patterns.search(io.BytesIO(text), 300)[0]) == 1


def test_hits_beyond_the_most_are_counted(monkeypatch):
    """Nobody reads a hundred thousand of them."""
    monkeypatch.setattr(searching, "MOST_HITS", 3)
    hits, untold, _ = Patterns({TOKEN: "t"}).search(io.BytesIO((TOKEN + "\n").encode() * 10), 2**20)
    assert ([hit.line for hit in hits], untold) == ([1, 2, 3], 7)


def search(root, *patterns, write=lambda: None):
    files = AppFiles(root, patterns)
    write()
    found = files.search(Patterns({TOKEN: "access token"}))
    return (
        [(one.file, one.hit.line, one.log) for one in found.hits],
        {one.file: one.why for one in found.skipped},
        [name for name, _ in found.names],
    )


def test_files_are_found_by_their_globs_and_told_apart(tmp_path):
    """Logs by their endings or folders, everything else is state; a file that two globs name counts once."""
    (tmp_path / "logs").mkdir()

    def write():
        (tmp_path / "logs" / "a.txt").write_text(TOKEN)
        (tmp_path / "b.log").write_text(f"\n{TOKEN}")
        (tmp_path / "c.json").write_text(f"{TOKEN}")
        (tmp_path / "other").write_text(TOKEN)

    hits, skipped, names = search(tmp_path, "*.log", "logs/*", "**/*.txt", "c.*", write=write)
    assert hits == [("b.log", 2, True), ("logs/a.txt", 1, True), ("c.json", 1, False)]
    assert (skipped, names) == ({}, ["b.log", "logs/a.txt", "c.json"])


def test_a_log_is_read_from_where_it_ended_and_unchanged_files_are_left_out(tmp_path):
    """Yesterday's token under the same seed is not today's; line numbers go on counting."""
    log, state, old = tmp_path / "a.log", tmp_path / "s.json", tmp_path / "old.json"
    log.write_text(f"{TOKEN}\n")
    state.write_text(TOKEN)
    old.write_text(TOKEN)

    def write():
        with log.open("a") as file:
            file.write(f"x\n{TOKEN}\n")
        state.write_text(f"{TOKEN} ")

    hits, skipped, _ = search(tmp_path, "*", write=write)
    assert hits == [("a.log", 3, True), ("s.json", 1, False)]
    assert skipped == {"old.json": "was not changed by the run"}


def test_nothing_outside_the_workspace_is_opened(tmp_path):
    """Links that lead out, links to nothing, pipes and folders: named with the reason, or passed over."""
    (tmp_path / "secret").write_text(TOKEN)
    root = tmp_path / "ws"
    (root / "folder").mkdir(parents=True)

    def write():
        (root / "out.log").symlink_to(tmp_path / "secret")
        (root / "up").symlink_to(tmp_path)
        (root / "nothing.log").symlink_to(root / "gone")
        os.mkfifo(root / "pipe.log")
        (root / "real.txt").write_text(TOKEN)
        (root / "inside.log").symlink_to(root / "real.txt")

    hits, skipped, _ = search(root, "*", "up/*", write=write)
    assert {hit[0] for hit in hits} == {"inside.log"}
    assert skipped == {
        "nothing.log": "is a link to nothing",
        "out.log": "leads out of the workspace",
        "pipe.log": "is no regular file",
        "up": "leads out of the workspace",
        "up/secret": "leads out of the workspace",
    }


def test_a_secret_in_a_files_name_is_found(tmp_path):
    """Line 0 stands for the name."""
    hits, _, _ = search(tmp_path, "*", write=lambda: (tmp_path / f"{TOKEN}.json").write_text("{}"))
    assert hits == [(f"{TOKEN}.json", 0, False)]


def test_a_file_that_became_a_link_is_not_followed(tmp_path):
    """Between listing and opening it was exchanged."""
    (tmp_path / "a").symlink_to("/etc/hostname")
    searched = Searched()
    search_file(Patterns({TOKEN: "t"}), tmp_path / "a", "a", searched)
    assert searched.names == []
    assert searched.skipped[0].why.startswith("cannot be read")
