"""RFC 9207: every answer by redirect says who gives it."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest

ISSUER = "https://provider.test"


def test_a_code_comes_with_its_issuer(faced):
    """2: the issuer is that of the metadata, to the letter."""
    document = faced.http.get("/.well-known/oauth-authorization-server").json()
    assert document["authorization_response_iss_parameter_supported"] is True
    assert faced.authorize()["iss"] == document["issuer"] == ISSUER


@pytest.mark.parametrize(
    "changed",
    [
        {"response_type": "token"},
        {"scope": "everything"},
        {"code_challenge": None},
        {"scope": "calendar.admin"},
    ],
    ids=str,
)
def test_so_does_every_error_that_is_sent_back(faced, changed):
    """2: "including error responses"."""
    answer = faced.http.get(f"/oauth/authorize?{faced.query(**changed)}")
    back = dict(parse_qsl(urlsplit(answer.headers["location"]).query))
    assert back["iss"] == ISSUER
    assert faced.authorize(decision="deny")["iss"] == ISSUER


def test_a_provider_that_does_not_know_it_sends_none(open_world, face):
    """Neither with a code nor with an error, and the metadata says so."""
    world = open_world("oauth.issuer_parameter=false", face=face)
    document = world.http.get("/.well-known/oauth-authorization-server").json()
    assert document["authorization_response_iss_parameter_supported"] is False
    assert sorted(world.authorize()) == ["code", "state"]
    assert "iss" not in world.authorize(decision="deny")
