"""Reading answers: waits in all their forms, signs, pointers, links; and whatever a hostile server sends."""

from __future__ import annotations

import datetime
from email.utils import format_datetime

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quotalab.profiles.reference import WAIT_FORMS, Signs, WaitHeader
from quotalab.reference.answers import Answer, pointed_at, promised_ns

S = 1_000_000_000
NOW_NS = 1_767_571_200 * S  # 2026-01-05 00:00 UTC
YEAR_NS = 366 * 86_400 * S


def promise(form: str, text: str) -> int | None:
    """What one header says."""
    return promised_ns(httpx.Headers({"Wait": text}), [WaitHeader("Wait", form)], NOW_NS)


@pytest.mark.parametrize(
    ("form", "text", "wait_ns"),
    [
        ("seconds", "120", 120 * S),
        ("seconds", " 7 ", 7 * S),
        ("seconds", "2.0", 2 * S),  # Shopify
        ("seconds", "64.57", 64_570_000_000),  # Discord
        ("seconds", "0.0000000001", 1),  # rounded up, never early
        ("ms", "1500", 1_500_000_000),
        ("ms", "0.5", 500_000),
        ("epoch", "1767571260", 60 * S),
        ("epoch", "1767571260.250", 60_250_000_000),
        ("epoch_ms", "1767571260250", 60_250_000_000),
        ("http_date", "Mon, 05 Jan 2026 00:01:00 GMT", 60 * S),
        ("http_date", "Monday, 05-Jan-26 00:01:00 GMT", 60 * S),  # RFC 850
        ("http_date", "Mon Jan  5 00:01:00 2026", 60 * S),  # asctime
        ("iso", "2026-01-05T00:01:00Z", 60 * S),
        ("iso", "2026-01-05T01:01:00.500+01:00", 60_500_000_000),
        ("iso", "2026-01-05T00:01", 60 * S),  # without a zone it is UTC
    ],
)
def test_a_wait_is_read_in_its_form(form: str, text: str, wait_ns: int) -> None:
    """To the nanosecond, from now."""
    assert promise(form, text) == wait_ns


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("seconds", ""),
        ("seconds", "0"),
        ("seconds", "-5"),
        ("seconds", "+5"),
        ("seconds", "1e3"),
        ("seconds", "5, 10"),
        ("seconds", "5."),
        ("seconds", "soon"),
        ("seconds", "9" * 5000),  # more digits than Python converts
        ("seconds", str(366 * 86_400 + 1)),  # who would believe it
        ("seconds", "Mon, 05 Jan 2026 00:01:00 GMT"),
        ("epoch", "1767571200"),  # now
        ("epoch", "60"),  # long past: it is a number of seconds
        ("epoch", "1767571260250"),  # milliseconds
        ("epoch_ms", "1767571260"),
        ("http_date", "120"),
        ("http_date", "Mon, 99 Jan 2026 00:01:00 GMT"),
        ("http_date", "Sun, 04 Jan 2026 00:01:00 GMT"),
        ("iso", "tomorrow"),
        ("iso", "0001-01-01T00:00:00+23:59"),
    ],
)
def test_what_promises_nothing_is_ignored(form: str, text: str) -> None:
    """Absent, malformed, past or absurd: the backoff decides then."""
    assert promise(form, text) is None


def test_the_longest_wait_that_is_believed_is_a_year() -> None:
    """366 days, to the second."""
    assert promise("seconds", str(366 * 86_400)) == YEAR_NS


def test_the_first_header_that_is_there_and_readable_decides() -> None:
    """A malformed Retry-After does not hide the reset behind it."""
    waits = [WaitHeader("Retry-After", "seconds"), WaitHeader("x-ratelimit-reset", "epoch")]
    both = {"retry-after": "5", "x-ratelimit-reset": "1767571260"}
    assert promised_ns(httpx.Headers(both), waits, NOW_NS) == 5 * S
    assert promised_ns(httpx.Headers({**both, "retry-after": "?"}), waits, NOW_NS) == 60 * S
    assert promised_ns(httpx.Headers({"x-ratelimit-reset": "1767571260"}), waits, NOW_NS) == 60 * S
    assert promised_ns(httpx.Headers(), waits, NOW_NS) is None
    assert promised_ns(httpx.Headers(both), [], NOW_NS) is None


@given(st.sampled_from(WAIT_FORMS), st.text(st.characters(max_codepoint=255), max_size=80))
@example("http_date", "Mon, 05 Jan 2026 00:01:00 -9999")
@example("http_date", "1 Jan 99999999999999999999 00:00:00 +0000")
@example("http_date", ",")
@example("iso", "9999-12-31T23:59:59-23:59")
@example("seconds", "\u00b2")
def test_no_header_breaks_the_reader(form: str, text: str) -> None:
    """Whatever a provider sends, it is a wait of up to a year or nothing."""
    wait_ns = promised_ns({"Wait": text}, [WaitHeader("Wait", form)], NOW_NS)
    assert wait_ns is None or 0 < wait_ns <= YEAR_NS


@given(st.integers(1, 366 * 86_400))
def test_every_form_says_the_same(seconds: int) -> None:
    """The forms are ways to write one instant."""
    at = datetime.datetime.fromtimestamp(NOW_NS // S + seconds, datetime.UTC)
    texts = {
        "seconds": str(seconds),
        "ms": str(seconds * 1000),
        "epoch": str(NOW_NS // S + seconds),
        "epoch_ms": str((NOW_NS // S + seconds) * 1000),
        "http_date": format_datetime(at, usegmt=True),
        "iso": at.isoformat(),
    }
    assert {promise(form, text) for form, text in texts.items()} == {seconds * S}
    assert set(texts) == set(WAIT_FORMS)


# ---- pointers


DOCUMENT = {"a": [{"b": 1}, 2], "": 3, "x/y": 4, "m~n": 5, "none": None, "0": 6}


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", DOCUMENT),
        ("/a/0/b", 1),
        ("/a/1", 2),
        ("/", 3),
        ("/x~1y", 4),
        ("/m~0n", 5),
        ("/0", 6),
        ("/none", None),
        ("/a/2", None),
        ("/a/-1", None),
        ("/a/01", None),
        ("/a/-", None),
        ("/a/0/b/c", None),
        ("/nowhere/at/all", None),
    ],
)
def test_a_pointer_finds_what_rfc_6901_says_or_nothing(pointer: str, value: object) -> None:
    """Escapes, array indices without leading zeros, and no exception where there is nothing."""
    assert pointed_at(DOCUMENT, pointer) == value


# ---- signs


def answer(status: int, *, headers: dict[str, str] | None = None, json: object = None) -> Answer:
    """An answer with a JSON body."""
    return Answer(httpx.Response(status, headers=headers, json=json))


REFUSED = Signs(
    (429,),
    {"/error": ("ratelimited", "slow_down"), "/code": (1,), "/throttled": ()},
    {"x-ratelimit-remaining": ("0",), "retry-after": ()},
)


@pytest.mark.parametrize(
    ("seen", "means"),
    [
        (answer(429), True),
        (answer(200, json={"error": "ratelimited"}), True),
        (answer(400, json={"error": "slow_down"}), True),
        (answer(200, json={"error": "no_such_channel"}), False),
        (answer(400, json={"code": 1}), True),
        (answer(400, json={"code": True}), False),  # true is not 1
        (answer(200, json={"throttled": {"for": 3}}), True),
        (answer(200, json={"throttled": None}), False),
        (answer(403, headers={"X-RateLimit-Remaining": "0"}), True),
        (answer(403, headers={"X-RateLimit-Remaining": "17"}), False),  # a permission is missing
        (answer(403, headers={"Retry-After": "30"}), True),
        (answer(403), False),
        (answer(200, headers={"X-RateLimit-Remaining": "0"}), False),  # the last call that was let in
        (answer(404, headers={"X-RateLimit-Remaining": "0"}), False),
        (Answer(httpx.Response(200, content=b"no json")), False),
        (Answer(httpx.Response(200, content=b"[" * 200_000)), False),
    ],
)
def test_a_refusal_is_known_by_any_one_of_its_signs(seen: Answer, means: bool) -> None:
    """By status; by what the body says, whatever the status; by a header, where 403 could mean both."""
    assert (seen.told(REFUSED) is not None) is means


def test_what_is_told_of_an_answer_are_the_profiles_words() -> None:
    """An error text ends up in the ledger; it may quote nothing that the provider sent."""
    assert answer(429).told(REFUSED) == "Too Many Requests"
    assert answer(200, json={"throttled": "secret"}).told(REFUSED) == "and an error at /throttled"
    assert answer(403, headers={"Retry-After": "secret"}).told(REFUSED) == "and retry-after"


@pytest.mark.parametrize(
    ("link", "target"),
    [
        (
            '<https://x.test/a?page=2>; rel="next", <https://x.test/a?page=9>; rel="last"',
            "https://x.test/a?page=2",
        ),
        ('<https://x.test/a?page=1>; rel="prev"', None),
        ('</a?page=2>; rel="NEXT last"', "/a?page=2"),
        ("", None),
        ("nonsense", None),
        (";;;,,,<>", None),
    ],
)
def test_the_next_page_is_read_from_the_link_header(link: str, target: str | None) -> None:
    """RFC 8288: the target whose relation is next."""
    assert Answer(httpx.Response(200, headers={"Link": link})).next_link() == target


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60))
def test_no_link_header_breaks_the_reader(link: str) -> None:
    """There is a target or there is none."""
    target = Answer(httpx.Response(200, headers={"Link": link})).next_link()
    assert target is None or isinstance(target, str)


def test_retry_after_may_be_a_date_where_seconds_are_documented():
    """RFC 9110 has both forms of that header, whichever one a provider's page speaks of; not of others."""
    date = "Mon, 05 Jan 2026 00:01:00 GMT"
    known = [WaitHeader("Retry-After", "seconds")]
    assert promised_ns({"Retry-After": date}, known, 1_767_571_200 * S) == 60 * S
    known = [WaitHeader("retry-after", "http_date")]
    assert promised_ns({"retry-after": "60"}, known, 1_767_571_200 * S) == 60 * S
    assert promised_ns({"Wait": date}, [WaitHeader("Wait", "seconds")], 1_767_571_200 * S) is None
