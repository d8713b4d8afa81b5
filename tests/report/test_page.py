"""report.html: whole, self-contained, and safe whatever a client sent."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from quotalab.frames.testing import LedgerBuilder, provider_document
from quotalab.report import judge_run, sentences
from quotalab.report.text import prose, visible

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Elements, attributes and texts, with every element closed."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.texts = []
        self._open = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def read(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(naive):
    return Page(read(naive[0]))


def test_nothing_is_fetched_and_only_our_script_runs(page, naive):
    """No link, no address: a page for a disconnected machine, whose policy names the one script by its hash."""
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"link", "img", "iframe", "object", "embed", "form", "base"}
    text = read(naive[0]).replace("http://www.w3.org/", "")
    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    policies = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policies == [f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"]
    assert page.all("script") == [{}]
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(|fetch\(|https?:", script)


def test_the_three_sentences_stand_on_top(page, naive):
    """The page begins with what the terminal ends with."""
    words = " ".join(page.texts)
    places = [words.index(sentence) for sentence in sentences(naive[1])]
    assert places == sorted(places)
    assert places[-1] < words.index("The run in figures")


def test_every_table_has_a_caption_and_every_figure_its_words(page):
    """Readable without seeing it: captions, scopes of headings, and a text for each picture."""
    assert len(page.all("caption")) == len(page.all("table")) > 4
    assert all(attributes.get("scope") == "col" for attributes in page.all("th"))
    assert len(page.all("figcaption")) == len(page.all("figure")) == len(page.all("svg")) == 8
    assert all(
        attributes["role"] == "img" and len(attributes["aria-label"]) > 20 for attributes in page.all("svg")
    )
    assert page.all("html") == [{"lang": "en"}]


def test_no_two_elements_share_an_id(page):
    """Ids of inline figures do not meet those of the page or of each other."""
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids)) > 5
    targets = [a["xlink:href"][1:] for _, a in page.elements if a.get("xlink:href", "").startswith("#")]
    assert set(targets) <= set(ids)


def test_figures_take_their_colours_from_the_page(naive):
    """Inline figures have no colour of their own, so that they follow light and dark."""
    for svg in re.findall(r"<svg.*?</svg>", read(naive[0]), flags=re.DOTALL):
        assert set(re.findall(r"#[0-9a-f]{6}\b", svg)) <= set()
        assert "var(--" in svg
        assert "DejaVu" not in svg


def test_all_that_is_known_of_a_call_is_in_its_row(naive):
    """The refused call of a finding: seq, time, person, operation, request, status, limit, promise."""
    folder, verdict = naive
    finding = next(r for r in verdict.rules if r.rule.id == "QL201").judgement.findings[0]
    row = re.search(rf'<tr class="refused"><td class="n">{finding.calls[0]}</td>.*?</tr>', read(folder))
    assert row
    for words in ("person-", "op-", "<code>", "429", "<td>hourly</td>", " s</td>"):
        assert words in row.group(0)


def test_findings_beyond_the_shown_are_counted(naive):
    """A page does not hold a thousand findings; it says how many more there are."""
    folder, verdict = naive
    total = len(next(r for r in verdict.rules if r.rule.id == "QL201").judgement.findings)
    assert f"and {total - 12:,} more findings" in read(folder)


def test_hostile_texts_are_only_text(hostile):
    """Markup, template syntax and attribute breakers stay what they are: text that is shown."""
    folder, verdict = hostile
    text = read(folder)
    page = Page(text)
    assert page.all("script") == [{}]  # ours, which the page's policy names by its hash
    assert text.count("<script") == 1
    assert not page.all("img")
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    words = " ".join(page.texts)
    assert "<script>alert(1)</script>" in words
    assert "{{ 7 * 7 }}" in words
    assert verdict.unknown_routes_total == 10


def test_what_cannot_be_seen_is_written_out(hostile):
    """No control character, no direction mark and no escape sequence reaches the page."""
    text = read(hostile[0])
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]", text)
    assert "\\x1b[31mred\\x07\\x00" in text
    assert "left\\u202ethgir" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("naïve, 日本", "naïve, 日本"),
        ("\x1b[0m", "\\x1b[0m"),
        ("\u202e\U000e0001", "\\u202e\\U000e0001"),
        ("a\r\nb\tc", "a\\x0d\\x0ab\\x09c"),
        ("\ud800", "\\ud800"),
    ],
)
def test_visible_leaves_what_can_be_seen(text, shown):
    """Letters of all scripts stay; what would act in place of being seen is written as an escape."""
    assert visible(text) == shown


def test_prose_marks_code_and_escapes_the_rest():
    """Rule pages may be anybody's: backticks make code, everything else is text."""
    assert prose("a `<b>`\n  c & d") == "a <code>&lt;b&gt;</code> c &amp; d"


def test_banners_say_what_a_reader_must_know_first(workspace, tmp_path):
    """A cut run, a contradiction and an unknown route are each said above the verdict."""
    limits = {"h": {"kind": "rolling_window", "limit": 1, "period": "10s"}}
    ledger = LedgerBuilder(provider_document(limits), complete=False)
    ledger.call(0)
    ledger.call(1, route=None, status=404, path="/nowhere")
    folder = ledger.write(tmp_path / "run")
    judge_run(folder, workspace)
    text = read(folder)
    for words in ("This run was cut.", "quotalab contradicts itself.", "has no route for", "/nowhere"):
        assert text.index(words) < text.index('class="badge"')
    clean = LedgerBuilder().write(tmp_path / "clean")
    judge_run(clean, workspace)
    for words in ("This run was cut.", "quotalab contradicts itself.", "has no route for"):
        assert words not in read(clean)


def test_svg_files_stand_alone(naive):
    """The files in figures/ are well-formed documents with fixed colours."""
    for path in (naive[0] / "figures").glob("*.svg"):
        root = ElementTree.fromstring(path.read_bytes())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "var(" not in path.read_text()


def test_each_limit_carries_its_curves_and_their_peak(page, naive):
    """What the script zooms into holds the largest value that was asked: thinning keeps spikes."""
    (series,) = (json.loads(a["data-series"]) for a in page.all("figure") if "data-series" in a)
    asked, admitted = series["curves"]
    assert (asked["label"], admitted["label"]) == ("asked", "admitted")
    assert max(asked["v"]) == naive[1].limits[0].peak_asked
    assert max(admitted["v"]) == 100
    assert sum(asked["t"]) == series["span"] == 86_400_000
    assert all(step >= 0 for step in asked["t"])


def test_everything_that_scrolls_can_be_reached_by_keyboard(page):
    """Whatever is wider than a phone is a region with a name that takes the focus."""
    regions = [a for _, a in page.elements if "scroll" in a.get("class", "").split()]
    assert len(regions) > 8
    assert all(a["tabindex"] == "0" and a["role"] == "region" and a["aria-label"] for a in regions)


def test_findings_show_the_headers_of_their_calls(workspace, tmp_path):
    """As the ledger has them, which is redacted; as text, whatever they hold."""
    limits = {"h": {"kind": "rolling_window", "limit": 1, "period": "1h"}}
    ledger = LedgerBuilder(provider_document(limits))
    for i in range(3):
        sent = json.dumps({"authorization": "[redacted]", "x-note": f"<b>{i}</b>"})
        ledger.decided_call(i, request_headers=sent, response_headers='{"retry-after":"3599"}')
    folder = ledger.write(tmp_path / "run")
    judge_run(folder, workspace)
    text = read(folder)
    assert "<dt>&gt; x-note</dt><dd>&lt;b&gt;1&lt;/b&gt;</dd>" in text
    assert "<dt>&lt; retry-after</dt><dd>3599</dd>" in text


def test_a_card_says_why_there_was_nothing_to_judge(workspace, tmp_path):
    """NA and silenced rules show their reason without being opened."""
    ledger = LedgerBuilder()
    ledger.decided_call(1)
    folder = ledger.write(tmp_path / "run", rules={"QL601": {"silence": "we poll <on> purpose"}})
    judge_run(folder, workspace)
    text = read(folder)
    summaries = re.findall(r"<summary>.*?</summary>", text, flags=re.DOTALL)
    of = {name: next(s for s in summaries if name in s) for name in ("QL201", "QL601")}
    assert "No call was refused, or failed, with a Retry-After." in of["QL201"]
    assert "Silenced: we poll &lt;on&gt; purpose" in of["QL601"]
