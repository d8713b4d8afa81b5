"""Templates of headers and bodies: what is a field, what is text, and what is said of anything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotalab.profiles.templates import (
    LIMIT_FIELDS,
    WAIT_FIELDS,
    Field,
    Template,
    parse_template,
    templates_in,
)

PLAIN = ("n", "person")
LIMITS = ("hourly", "daily")


def parse(text: str, *, refused: bool = False) -> Template:
    """The template in a text, where two fields and two limits are known."""
    return parse_template(text, PLAIN, LIMITS, refused=refused)


def test_a_text_without_fields_is_its_text():
    """Double braces are braces."""
    assert parse("plain").text == "plain"
    assert parse("").text == ""
    assert parse('{{"a":1}}').text == '{"a":1}'
    assert parse("{n}").text is None


def test_fields_are_found_where_they_stand():
    """Plain fields have no subject; those of a limit have it before the dot; the last dot counts."""
    template = parse("{hourly.used}/{hourly.limit};{person}")
    assert template.parts == (
        Field("hourly", "used", ""),
        "/",
        Field("hourly", "limit", ""),
        ";",
        Field("", "person", ""),
    )
    assert template.fields == tuple(part for part in template.parts if isinstance(part, Field))


@pytest.mark.parametrize("spec", ["d", "08x", "011d", "64b", "3X", "5o"])
def test_a_format_is_a_width_and_a_base(spec):
    """Whole numbers can be written as ids are."""
    if len(spec) == 1:
        with pytest.raises(ValueError, match="unknown format"):
            parse(f"{{n:{spec}}}")
    else:
        assert parse(f"U{{n:{spec}}}").fields == (Field("", "n", spec),)


@pytest.mark.parametrize("field", LIMIT_FIELDS)
def test_every_field_of_a_limit_is_known_of_every_limit(field):
    """Also of the tightest, and, where a call was refused, of the one that refused."""
    for subject in (*LIMITS, "tightest"):
        assert parse(f"{{{subject}.{field}}}").fields == (Field(subject, field, ""),)
    assert parse(f"{{refusing.{field}}}", refused=True).fields == (Field("refusing", field, ""),)


@pytest.mark.parametrize("field", WAIT_FIELDS)
def test_how_long_to_wait_is_known_of_the_refusing_limit_alone(field):
    """Nobody waits for a limit that has admitted the call."""
    assert parse(f"{{refusing.{field}}}", refused=True).fields == (Field("refusing", field, ""),)
    with pytest.raises(
        ValueError, match=f"unknown field 'hourly.{field}'; of a limit there is: name, limit, "
    ):
        parse(f"{{hourly.{field}}}", refused=True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{x}", "has an unknown field 'x'; there is: n, person, hourly.FIELD, daily.FIELD, tightest.FIELD"),
        ("{}", "has an unknown field ''; there is: "),
        ("{weekly.used}", "has an unknown field 'weekly.used'; there is: n, person, hourly.FIELD"),
        ("{refusing.limit}", "has an unknown field 'refusing.limit'; there is: n, person"),
        (
            "{hourly.left}",
            "has an unknown field 'hourly.left'; of a limit there is: name, limit, used, remaining",
        ),
        ("{hourly.}", "has an unknown field 'hourly.'; of a limit there is: "),
        ("{n", "is no template: "),
        ("n}", "is no template: "),
        ("{n!r}", "is no template: '!r' has no meaning in it"),
        ("{n:.2f}", "has an unknown format '.2f'; a width and b, d, o, x or X are known"),
        ("{n:99d}", "has an unknown format '99d'"),
        ("{n:s}", "has an unknown format 's'"),
        ("{n:{person}}", "has an unknown format '{person}'"),
        ("{person.__class__}", "has an unknown field 'person.__class__'"),
        ("{hourly[0]}", "has an unknown field 'hourly[0]'"),
    ],
)
def test_anything_else_is_told_what_is_allowed(text, says):
    """No attribute, index or conversion reaches into Python."""
    with pytest.raises(ValueError, match=r"^'") as caught:
        parse(text)
    assert str(caught.value).startswith(f"{text!r} {says}")
    assert "\n" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_a_template_or_gets_one_line(text):
    """Whatever is written there: fields that are known, or a message."""
    message = ""
    try:
        fields = parse(text).fields
    except ValueError as error:
        message, fields = str(error), ()
    assert "\n" not in message
    assert all(field.name in PLAIN or field.subject for field in fields)


def test_a_document_keeps_its_shape():
    """Only texts are templates, keys are not; a text without fields becomes what it says."""
    document = {"{n}": ["{n}", "a{{b", 1, True, None, {"x": "{person}!"}]}
    assert templates_in(document, parse) == {
        "{n}": [
            Template((Field("", "n", ""),)),
            "a{b",
            1,
            True,
            None,
            {"x": Template((Field("", "person", ""), "!"))},
        ]
    }
