"""Reading profiles: each getter's right and wrong values, durations, settings, and the text of every error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotalab.errors import ProfileError
from quotalab.profiles.reading import Table, apply_settings, merge, parse_duration_ns, read_toml


def table(**values) -> Table:
    """A table `limits.hourly` of `p.toml`."""
    return Table(values, "p.toml", "limits.hourly")


@pytest.mark.parametrize(
    ("text", "duration_ns"),
    [
        ("0s", 0),
        ("90s", 90 * 10**9),
        ("1.5h", 5400 * 10**9),
        ("80ms", 80_000_000),
        ("1h 30m", 5400 * 10**9),
        ("1h30m", 5400 * 10**9),
        ("2min", 120 * 10**9),
        ("30d", 30 * 86_400 * 10**9),
        ("7 us", 7_000),
        ("1ns", 1),
        ("0.000000001s", 1),
        (" 1s ", 10**9),
    ],
)
def test_a_duration_is_exact(text, duration_ns):
    """Units from nanoseconds to days, fractions without floats, several parts added."""
    assert parse_duration_ns(text) == duration_ns


@given(st.integers(0, 10**15), st.sampled_from([("ns", 1), ("ms", 10**6), ("h", 3600 * 10**9)]))
def test_any_whole_number_of_a_unit_is_exact(number, unit):
    """No number is too large to stay exact."""
    assert parse_duration_ns(f"{number}{unit[0]}") == number * unit[1]


@pytest.mark.parametrize("text", ["", " ", "5", "h", "-5s", "5x", "1month", "1h and", "1,5h", "s5", "1e3s"])
def test_what_is_no_duration_is_told_what_would_be(text):
    """The error quotes the text and gives examples."""
    with pytest.raises(ValueError, match="is not a duration such as 90s, 15m, 1h or 24h") as caught:
        parse_duration_ns(text)
    assert repr(text) in str(caught.value)


def test_nothing_is_finer_than_a_nanosecond():
    """A fraction that would be rounded is refused."""
    with pytest.raises(ValueError, match=r"'0.5ns' is finer than a nanosecond"):
        parse_duration_ns("0.5ns")


@pytest.mark.parametrize(
    ("getter", "value", "got"),
    [
        (lambda t: t.text("k"), "a", "a"),
        (lambda t: t.choice("k", ("a", "b")), "b", "b"),
        (lambda t: t.flag("k"), False, False),
        (lambda t: t.whole("k"), 0, 0),
        (lambda t: t.whole("k", least=2, most=3), 3, 3),
        (lambda t: t.number("k"), 2, 2.0),
        (lambda t: t.number("k", most=1.0), 1.0, 1.0),
        (lambda t: t.duration_ns("k"), "1h", 3600 * 10**9),
        (lambda t: t.duration_ns("k"), 2, 2 * 10**9),
        (lambda t: t.texts("k"), ["a", "b"], ("a", "b")),
        (lambda t: t.texts("k"), [], ()),
        (lambda t: t.texts("k", allowed=("a",)), ["a"], ("a",)),
        (lambda t: t.numbers("k", count=2), [1, 2.5], (1.0, 2.5)),
        (lambda t: t.any("k"), {"a": 1}, {"a": 1}),
    ],
)
def test_a_getter_takes_its_key_off_the_table(getter, value, got):
    """A right value is given back in its own type, and the key counts as known."""
    one = table(k=value)
    assert getter(one) == got
    assert type(getter(table(k=value))) is type(got)
    assert "k" not in one
    one.done()


@pytest.mark.parametrize(
    ("getter", "value", "says"),
    [
        (lambda t: t.text("k"), 5, "must be a text, not 5"),
        (lambda t: t.text("k"), " ", "must be a text, not ' '"),
        (lambda t: t.choice("k", ("app", "person")), "persn", "(did you mean 'person'?)"),
        (lambda t: t.choice("k", ("app", "person")), ["app"], "must be one of 'app', 'person', not ['app']"),
        (lambda t: t.flag("k"), 1, "must be true or false, not 1"),
        (lambda t: t.whole("k"), -1, "must be a whole number of 0 or more, not -1"),
        (lambda t: t.whole("k"), 1.0, "must be a whole number of 0 or more, not 1.0"),
        (lambda t: t.whole("k"), True, "must be a whole number of 0 or more, not True"),
        (lambda t: t.whole("k", most=9), 10, "must be a whole number of at most 9, not 10"),
        (lambda t: t.number("k"), -0.5, "must be a number of 0 or more, not -0.5"),
        (lambda t: t.number("k", most=1.0), 1.5, "must be a number from 0 to 1, not 1.5"),
        (lambda t: t.number("k"), float("nan"), "must be a number of 0 or more, not nan"),
        (lambda t: t.number("k"), "1", "must be a number of 0 or more, not '1'"),
        (lambda t: t.number("k"), True, "must be a number of 0 or more, not True"),
        (lambda t: t.duration_ns("k"), "soon", "'soon' is not a duration such as 90s, 15m, 1h or 24h"),
        (lambda t: t.duration_ns("k"), 1.5, 'must be a duration such as "90s", "15m" or "1h", not 1.5'),
        (lambda t: t.duration_ns("k"), True, 'must be a duration such as "90s", "15m" or "1h", not True'),
        (lambda t: t.duration_ns("k"), -5, "of at least 0 s, not -5"),
        (lambda t: t.duration_ns("k", least_ns=10**9), "999ms", "of at least 1 s, not '999ms'"),
        (lambda t: t.duration_ns("k"), "100000d", "must be shorter than 146 years, not '100000d'"),
        (lambda t: t.texts("k"), "a", "must be a list of texts, not 'a'"),
        (lambda t: t.texts("k"), ["a", 1], "must be a list of texts, not ['a', 1]"),
        (lambda t: t.texts("k"), ["a", "a"], "names something twice: ['a', 'a']"),
        (lambda t: t.texts("k", allowed=("a",)), ["b"], "must be a list of 'a', not ['b']"),
        (lambda t: t.numbers("k", count=2), [1], "must be a list of 2 numbers of 0 or more, not [1]"),
        (lambda t: t.numbers("k"), [-1], "must be a list of numbers of 0 or more, not [-1]"),
        (lambda t: t.table("k"), 3, "must be a table, not 3"),
        (lambda t: t.array("k"), {"a": 1}, "must be an array of tables, not {'a': 1}"),
        (lambda t: t.array("k"), [1], "must be an array of tables, not [1]"),
        (lambda t: t.text("k"), list(range(40)), "15, 16..."),
    ],
)
def test_a_wrong_value_is_told_with_file_key_and_what_would_be_right(getter, value, says):
    """The whole error is one line: file, dotted key, what would be right, what was there (cut if long)."""
    with pytest.raises(ProfileError) as caught:
        getter(table(k=value))
    assert str(caught.value).startswith("p.toml: limits.hourly.k: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (caught.value.file, caught.value.key) == ("p.toml", "limits.hourly.k")


@pytest.mark.parametrize(
    ("getter", "wanted"),
    [
        (lambda t: t.text("k"), "a text"),
        (lambda t: t.choice("k", ("a",)), "one of 'a'"),
        (lambda t: t.flag("k"), "true or false"),
        (lambda t: t.whole("k", least=1), "a whole number of 1 or more"),
        (lambda t: t.number("k", most=1.0), "a number from 0 to 1"),
        (lambda t: t.duration_ns("k"), 'a duration such as "90s", "15m" or "1h"'),
        (lambda t: t.texts("k"), "a list of texts"),
        (lambda t: t.numbers("k"), "a list of numbers of 0 or more"),
        (lambda t: t.table("k"), "a table"),
        (lambda t: t.any("k"), "a value"),
    ],
)
def test_a_missing_key_is_told_what_it_must_be(getter, wanted):
    """Without a default, a key that is not there is an error; with one, the default is given back."""
    with pytest.raises(ProfileError) as caught:
        getter(table())
    assert str(caught.value) == f"p.toml: limits.hourly.k: is missing; it must be {wanted}"


def test_defaults_are_given_back_as_they_are():
    """A default is not validated, and may be None."""
    one = table()
    assert one.whole("a", None) is None
    assert one.text("b", "x") == "x"
    assert one.duration_ns("c", 5) == 5
    assert one.texts("d", ()) == ()
    one.done()


def test_tables_below_know_their_place():
    """Tables, tables of tables and arrays of tables name their keys from the top."""
    top = Table({"limits": {"hourly": {"x": 1}}, "routes": [{"x": 1}, {"x": 2}]}, "p.toml")
    ((name, hourly),) = top.tables("limits")
    routes = top.array("routes")
    assert name == "hourly"
    assert str(hourly.error("x", "is wrong")) == "p.toml: limits.hourly.x: is wrong"
    assert str(routes[1].error("x", "is wrong")) == "p.toml: routes[1].x: is wrong"
    assert str(routes[1].error("", "is wrong")) == "p.toml: routes[1]: is wrong"
    assert str(top.error("", "is wrong")) == "p.toml: is wrong"
    assert Table({}, "p.toml").tables("limits") == []
    assert Table({}, "p.toml").array("routes") == []


@pytest.mark.parametrize(
    ("key", "hint"),
    [("perod", "did you mean 'period'?"), ("colour", "known here: kind, period")],
)
def test_an_unknown_key_is_refused_with_a_suggestion(key, hint):
    """A misspelt key gets its neighbour, a strange one the whole list."""
    one = table(kind="a", **{key: 1})
    one.text("kind")
    one.duration_ns("period", 1)
    with pytest.raises(ProfileError) as caught:
        one.done()
    assert str(caught.value) == f"p.toml: limits.hourly.{key}: is not a key that is known here; {hint}"


def test_merging_goes_table_by_table():
    """What lies above wins, key by key; lists are replaced whole, and nothing is shared with the originals."""
    below = {"a": {"x": 1, "y": [1, 2]}, "b": 1}
    above = {"a": {"y": [3], "z": {"q": 1}}, "b": {"c": 2}}
    merged = merge(below, above)
    assert merged == {"a": {"x": 1, "y": [3], "z": {"q": 1}}, "b": {"c": 2}}
    merged["a"]["z"]["q"] = merged["a"]["y"] = 9
    assert (below["a"]["y"], above["a"]) == ([1, 2], {"y": [3], "z": {"q": 1}})


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("limits.hourly.limit=50", 50),
        ("limits.hourly.limit = 0.5", 0.5),
        ("limits.hourly.limit=fixed_window", "fixed_window"),
        ('limits.hourly.limit="50"', "50"),
        ('limits.hourly.limit=["app", "person"]', ["app", "person"]),
        ("limits.hourly.limit=true", True),
        ("limits.hourly.limit=1h", "1h"),
        ("limits.hourly.limit=", ""),
        ("limits.hourly.limit=a=b", "a=b"),
    ],
)
def test_a_setting_is_toml_or_else_text(setting, value):
    """`--set key=value` reads numbers, lists and flags, and takes what is none of them as it stands."""
    document = {"limits": {"hourly": {"limit": 100}}}
    assert apply_settings(document, [setting], "p.toml")["limits"]["hourly"]["limit"] == value
    assert document == {"limits": {"hourly": {"limit": 100}}}


def test_settings_make_tables_and_the_last_one_wins():
    """A key that is not there yet is made, with the tables on its way."""
    changed = apply_settings({}, ["a.b.c=1", "a.b.c=2", "a.d=3"], "p.toml")
    assert changed == {"a": {"b": {"c": 2}, "d": 3}}


@pytest.mark.parametrize("setting", ["limits", "=5", "a..b=1", ".a=1", ""])
def test_what_is_no_setting_is_told_what_would_be(setting):
    """The error gives an example."""
    with pytest.raises(ProfileError) as caught:
        apply_settings({}, [setting], "p.toml")
    assert str(caught.value) == f"--set: {setting!r} is not key=value, as in limits.hourly.limit=50"


def test_a_setting_cannot_reach_through_what_is_no_table():
    """The error names the key that stands in the way."""
    with pytest.raises(ProfileError) as caught:
        apply_settings({"a": {"b": 1}}, ["a.b.c=1"], "p.toml")
    assert str(caught.value) == "p.toml: a.b: is not a table, so --set cannot reach 'a.b.c'"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "p.toml: cannot be read: No such file or directory"),
        (b"\xff", "p.toml: is not UTF-8 text: invalid start byte"),
        (b"a = ", "p.toml: is not valid TOML: Invalid value (at end of document)"),
    ],
    ids=["missing", "bytes", "toml"],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, content, says):
    """Missing, not text, not TOML: one line each, under the name that the user knows the file by."""
    path = tmp_path / "other.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ProfileError) as caught:
        read_toml(path, "p.toml")
    assert str(caught.value) == says
