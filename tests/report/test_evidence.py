"""Evidence: what it says, that it is whole, and what a check says of one that is not."""

import csv
import io
import json
import zipfile

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from quotalab.cli import main
from quotalab.errors import InputError, ProfileError
from quotalab.frames.testing import LedgerBuilder
from quotalab.ledger import OAuthFacts
from quotalab.profiles.reviews import load_review, parse_review
from quotalab.report.evidence import gather, write_zip
from quotalab.report.evidence_seal import Seal, verify

CANARY = "CANARYq8Xv2nT5wLz0"
REVIEWS = ("google", "hubspot", "strava", "xero", "zoom")


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    """A run of 20 calls of which one was refused; its operation kept the promised wait."""
    builder = LedgerBuilder()
    oauth = OAuthFacts(
        grant_type="authorization_code", code="c", issued_token="t1", scopes_asked="a b", scopes_granted="a"
    )
    builder.call(0, kind="token", asked=False, oauth=oauth, operation="op")
    for i in range(18):
        builder.call(i + 1, operation=f"o{i}", request_headers=json.dumps({"authorization": CANARY}))
    builder.call(30, refused_by="hourly", retry_after_s=60, operation="late")
    builder.call(95, operation="late")
    return builder.write(tmp_path_factory.mktemp("evidence") / "run")


@pytest.fixture(scope="module")
def made(ledger, workspace):
    return gather(ledger, workspace, load_review(workspace, "hubspot"), {"consent.html": b"<p>"})


@pytest.fixture
def zipped(made, tmp_path):
    out = tmp_path / "a.zip"
    write_zip(made, out)
    return out


def rows(made, name):
    return list(csv.DictReader(io.StringIO(made.files[name].decode())))


def changed(source, target, change):
    """A copy of a ZIP file whose entries `change(name, data)` gives anew; None leaves one out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            data = change(info.filename, old.read(info))
            if data is not None:
                new.writestr(info, data)
    return target


def test_figures(made):
    """The tables have the run's own figures, by day, route and limit."""
    assert rows(made, "usage.csv")[0]["most asked for"] == "20"
    (day,) = rows(made, "days.csv")
    assert (day["calls"], day["refused by limits"], day["success"]) == ("20", "1", "95 %")
    assert [(row["route"], row["calls"]) for row in rows(made, "routes.csv")] == [("list_events", "20")]


def test_backoff_is_shown(made):
    """A refusal is shown with what was promised, and when the same operation asked again."""
    (row,) = rows(made, "backoff.csv")
    assert (row["promised"], row["after"], row["promise kept"], row["answered"]) == (
        "1 min",
        "1 min 5 s",
        "yes",
        "200",
    )


def test_answers_to_the_review(made):
    """A threshold that the provider names is held against the run's own share."""
    page = made.files["index.html"].decode()
    assert "95 %, asked for is 95 %: met." in page
    assert "5 %, allowed is 5 %: met." in page
    assert "Nothing here answers this: the app&#39;s makers must." in page
    assert "Not shown:" in page


def test_same_run_same_bytes(ledger, workspace, made, tmp_path):
    """The same run gives the same bytes, entry by entry."""
    for name in ("a", "b"):
        again = made if name == "a" else gather(
            ledger, workspace, load_review(workspace, "hubspot"), {"consent.html": b"<p>"}
        )  # fmt: skip
        write_zip(again, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_no_secret(made):
    """What stood in a header of the ledger is in no file."""
    for name, data in made.files.items():
        assert CANARY.encode() not in data, name


def test_hostile_texts_stay_text(hostile, workspace):
    """What a client sent is escaped in the page, and no cell of a table is a formula."""
    made = gather(hostile[0], workspace, None)
    assert b"<script>alert" not in made.files["index.html"]
    assert b"<img src=x" not in made.files["index.html"]
    builder_cells = [cell for row in rows(made, "calls.csv") for cell in row.values() if cell]
    assert not [cell for cell in builder_cells if cell[0] in "=+@"]


def test_whole_file(zipped, capsys):
    """A whole file is told so, and that it is not signed."""
    assert main(["evidence", "--verify", str(zipped)]) == 0
    told = capsys.readouterr().out
    assert told.startswith("11 files are what the manifest says")
    assert "not signed" in told


def replaced(name, data):
    return data + b"x" if name == "usage.csv" else data


def without(name, data):
    return None if name == "days.csv" else data


def no_manifest(name, data):
    return None if name == "manifest.json" else data


def foreign(name, data):
    return b"[]" if name == "manifest.json" else data


def another_ledger(name, data):
    document = json.loads(data) if name == "manifest.json" else None
    return data if document is None else json.dumps({**document, "ledger_sha256": "\x1b[2J"}).encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (another_ledger, "manifest.json names another ledger than verdict.json judged"),
        (replaced, "usage.csv was changed"),
        (without, "days.csv is missing, and the manifest has it"),
        (no_manifest, "is no evidence file: it has no manifest.json"),
        (foreign, "manifest.json is no manifest of evidence, schema 1"),
    ],
)
def test_tampered(zipped, tmp_path, change, message):
    """A changed, missing or foreign entry is named."""
    with pytest.raises(InputError, match=message):
        verify(changed(zipped, tmp_path / "b.zip", change))


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "c:evil", "..\\evil"])
def test_zip_slip(zipped, name):
    """An entry that leads out of the archive is named; nothing is unpacked."""
    with zipfile.ZipFile(zipped, "a") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(InputError, match="leads out of the archive"):
        verify(zipped)


def test_added_link_and_twice(zipped, tmp_path):
    """An entry that was added, a link, and a name that is there twice are refused."""
    extra = changed(zipped, tmp_path / "b.zip", lambda _, data: data)
    with zipfile.ZipFile(extra, "a") as archive:
        archive.writestr("more.txt", b"x")
    with pytest.raises(InputError, match=r"more\.txt was added"):
        verify(extra)
    link = changed(zipped, tmp_path / "c.zip", lambda _, data: data)
    with zipfile.ZipFile(link, "a") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(InputError, match="is a link"):
        verify(link)
    with zipfile.ZipFile(zipped, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("days.csv", b"x")
    with pytest.raises(InputError, match="is there twice"):
        verify(zipped)


@pytest.mark.parametrize("keep", [0, 10, 2000, -30])
def test_truncated(zipped, tmp_path, keep):
    """A file that is cut off anywhere is told so."""
    cut = tmp_path / "cut.zip"
    cut.write_bytes(zipped.read_bytes()[:keep])
    with pytest.raises(InputError, match="is no whole ZIP file"):
        verify(cut)


def pem(path, key):
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def test_signature(made, tmp_path):
    """A signature holds for its key alone, and for the manifest as it was."""
    mine, other = (
        Ed25519PrivateKey.from_private_bytes(b"1" * 32),
        Ed25519PrivateKey.from_private_bytes(b"2" * 32),
    )
    seal = Seal.load(pem(tmp_path / "key.pem", mine))
    write_zip(made, tmp_path / "a.zip", seal=seal)
    (tmp_path / "mine.pub").write_bytes(seal.public)
    (tmp_path / "other.pub").write_bytes(Seal(other).public)
    assert verify(tmp_path / "a.zip", tmp_path / "mine.pub").known
    assert not verify(tmp_path / "a.zip").known
    with pytest.raises(InputError, match="not a signature of the manifest by the key given"):
        verify(tmp_path / "a.zip", tmp_path / "other.pub")

    def resealed(name, data):
        return data.replace(b'"bytes": ', b'"bytes":  ') if name == "manifest.json" else data

    with pytest.raises(InputError, match=r"not a signature of the manifest by the key in manifest\.pub"):
        verify(changed(tmp_path / "a.zip", tmp_path / "b.zip", resealed))
    stripped = changed(
        tmp_path / "a.zip", tmp_path / "c.zip", lambda n, d: None if n == "manifest.sig" else d
    )
    with pytest.raises(InputError, match="is not signed, and --key asks"):
        verify(stripped, tmp_path / "mine.pub")


def test_wrong_keys(tmp_path):
    """What is no Ed25519 key is refused, and its bytes are not repeated."""
    path = tmp_path / "key.pem"
    path.write_text(CANARY)
    with pytest.raises(InputError, match="must be an Ed25519 private key") as told:
        Seal.load(path)
    assert CANARY not in str(told.value)


@pytest.mark.parametrize("name", REVIEWS)
def test_bundled_reviews(workspace, name):
    """Each review is valid, its questions have a page and a day, and it says what is not known."""
    review = load_review(workspace, name)
    assert review.name == name
    assert review.unknown
    assert all(one.source.read is not None and "." in one.source.where for one in review.questions)


def test_unknown_and_broken_reviews(workspace, ledger, capsys):
    """A review that there is not is named with those that there are; a broken one names its key."""
    assert main(["evidence", str(ledger), "--for", "stravaa"]) == 2
    assert "did you mean 'strava'?" in capsys.readouterr().err
    source = {"where": "a.example", "confidence": "own"}
    question = {"id": "a", "asks": "?", "answer": "nothing", "source": source}
    document = {"schema": 1, "name": "x", "title": "X", "about": "x", "questions": [question]}
    with pytest.raises(ProfileError, match=r"x\.toml: questions\[0\]\.answer: must be"):
        parse_review(document, "x.toml")
    with pytest.raises(ProfileError, match="gives one id to two questions"):
        parse_review({**document, "questions": [{**question, "answer": "usage"}] * 2}, "x.toml")


def test_wrong_calls(capsys, zipped, ledger):
    """A RUN with --verify, neither of them, and --key without --verify are refused."""
    assert main(["evidence", str(ledger), "--verify", str(zipped)]) == 2
    assert main(["evidence"]) == 2
    assert main(["evidence", str(ledger), "--key", "k"]) == 2
    assert main(["evidence", "--verify", str(ledger / "no.zip")]) == 2
    assert "cannot be read" in capsys.readouterr().err
