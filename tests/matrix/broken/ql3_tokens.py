"""Tokens: each of these renews, presents or gives back what it was given in one wrong way."""

from dataclasses import replace

import gevent
from reference_variants import reference

CASES = [
    {
        "RULE": "QL301",
        "TOLD": "It goes on with an access token that the API has rejected.",
        "FOLLOWS": {
            "QL501",  # every call after the first ten minutes fails
            "QL506",  # exports among them
        },
        "RUN": {"users": 20, "for": "4h", "settings": ("oauth.access_token_lifetime=10m",)},
        "build": "keeps_rejected",
    },
    {
        "RULE": "QL302",
        "TOLD": "Three workers renew one person's token at once.",
        "RUN": {
            "provider": "google",
            "users": 20,
            "for": "4h",
            "settings": ("oauth.access_token_lifetime=10m",),
        },
        "build": "stampedes",
    },
    {
        "RULE": "QL303",
        "TOLD": "It keeps the refresh token that has been replaced.",
        "RUN": {"users": 20, "for": "3h", "settings": ("oauth.access_token_lifetime=10m",)},
        "build": "keeps_old_refresh_token",
    },
    {
        "RULE": "QL304",
        "TOLD": "It goes on refreshing after invalid_grant.",
        "FOLLOWS": {
            "QL501",  # people who have withdrawn ask in vain
        },
        "RUN": {
            "users": 20,
            "for": "6h",
            "settings": ("oauth.access_token_lifetime=10m", "faults=[{kind='withdraw_consent', at='1h'}]"),
        },
        "build": "ignores_invalid_grant",
    },
    {
        "RULE": "QL305",
        "TOLD": "It goes on calling for people who have withdrawn.",
        "FOLLOWS": {
            "QL301",  # the token that it goes on with has been rejected
        },
        "RUN": {
            "users": 20,
            "for": "3h",
            "settings": ("oauth.access_token_lifetime=1d", "faults=[{kind='withdraw_consent', at='1h'}]"),
        },
        "build": "ignores_withdrawal",
    },
    {
        "RULE": "QL306",
        "TOLD": "It asks for a new token for each call.",
        "RUN": {"provider": "google", "users": 10},
        "build": "token_per_call",
    },
    {
        "RULE": "QL307",
        "TOLD": "It renews tokens forty minutes before their end.",
        "RUN": {"scenario": "_steady", "users": 3},
        "POLICY": {"refresh_before": "40m"},
    },
    {
        "RULE": "QL308",
        "TOLD": "It renews a token only once a call with it was rejected.",
        "RUN": {"users": 20, "for": "3h", "settings": ("oauth.access_token_lifetime=10m",)},
        "build": "renews_when_rejected",
    },
    {
        "RULE": "QL309",
        "TOLD": "It puts the access token into the address as well.",
        "RUN": {"users": 10},
        "build": "token_in_url",
    },
    {
        "RULE": "QL310",
        "TOLD": "It forgets a person's tokens without revoking them.",
        "RUN": {"scenario": "_leaving", "users": 5},
        "build": "never_revokes",
    },
]


def keeps_rejected(access):
    app = reference(access)
    app._authorizer._is_stale = lambda tokens, beside: False
    return app


def stampedes(access):
    app = reference(access)
    refresh = app._authorizer._refresh

    def three_times(person, tokens):
        workers = [gevent.spawn(refresh, person, tokens) for _ in range(3)]
        gevent.joinall(workers, raise_error=True)
        return workers[0].value

    app._authorizer._refresh = three_times
    return app


def keeps_old_refresh_token(access):
    app = reference(access)
    put = app._authorizer._store.put

    def keep(person, tokens):
        had = app._authorizer._store.get(person)
        put(person, tokens if had is None else replace(tokens, refresh_token=had.refresh_token))

    app._authorizer._store.put = keep
    return app


def ignores_invalid_grant(access):
    """The tokens stay where they are; the access token alone is known to be no good."""
    app = reference(access)
    store = app._authorizer._store
    store.forget = lambda person: store.put(person, replace(store.get(person), expires_ns=0))
    return app


def ignores_withdrawal(access):
    app = reference(access)
    app._authorizer._is_stale = lambda tokens, beside: False
    return app


def token_per_call(access):
    app = reference(access)
    app._authorizer._is_stale = lambda tokens, beside: True
    return app


def renews_when_rejected(access):
    app = reference(access)
    app._authorizer._is_stale = lambda tokens, beside: tokens.access_token == beside
    return app


def token_in_url(access):
    app = reference(access)

    def add(request):
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer":
            request.url = request.url.copy_merge_params({"access_token": token})

    app._client._transport = _Adding(app._client._transport, add)
    return app


def never_revokes(access):
    app = reference(access)
    app._authorizer.forget = app._authorizer._store.forget
    return app


class _Adding:
    """A transport that changes requests on their way."""

    def __init__(self, inner, change):
        self._inner, self._change = inner, change

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def handle_request(self, request):
        self._change(request)
        return self._inner.handle_request(request)

    def close(self):
        self._inner.close()
