"""Authorization: each of these asks for consent, or takes the answer, in one wrong way."""

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from reference_variants import reference

CASES = [
    {
        "RULE": "QL401",
        "TOLD": "It asks for consent without PKCE.",
        "RUN": {"users": 5, "settings": ("oauth.pkce=optional",)},
        "build": "without_pkce",
    },
    {
        "RULE": "QL402",
        "TOLD": "It sends its PKCE verifier in the clear.",
        "RUN": {"users": 5, "settings": ("oauth.pkce_methods=['S256', 'plain']",)},
        "build": "plain",
    },
    {
        "RULE": "QL403",
        "TOLD": "It has one PKCE verifier for all people.",
        "RUN": {"users": 10},
        "build": "one_verifier",
    },
    {
        "RULE": "QL404",
        "TOLD": "Its states are of eight characters.",
        "RUN": {"users": 5},
        "build": "short_state",
    },
    {
        "RULE": "QL405",
        "TOLD": "It redeems codes with another redirect URI than it asked with.",
        "FOLLOWS": {
            "QL501",  # nobody can connect
        },
        "RUN": {"users": 5},
        "build": "other_redirect_uri",
    },
    {
        "RULE": "QL406",
        "TOLD": "It asks for a scope of which it makes no use.",
        "RUN": {"provider": "strava", "users": 60, "for": "5h"},
        "build": "over_scoped",
    },
    {
        "RULE": "QL407",
        "TOLD": "It asks for a scope that the provider forbids before its review.",
        "FOLLOWS": {
            "QL501",  # nobody can connect
        },
        "RUN": {"users": 5},
        "build": "restricted",
    },
    {
        "RULE": "QL408",
        "TOLD": "It asks for a scope that the provider does not have.",
        "FOLLOWS": {
            "QL501",  # nobody can connect
        },
        "RUN": {"users": 5},
        "build": "unknown",
    },
    {
        "RULE": "QL409",
        "TOLD": "It adds events, and has never asked for the scope to write.",
        "FOLLOWS": {
            "QL501",  # whoever wants to add an event cannot
        },
        "RUN": {"users": 40, "for": "3h"},
        "build": "too_few",
    },
    {
        "RULE": "QL410",
        "TOLD": "It does not look at what a person has granted.",
        "FOLLOWS": {
            "QL501",  # what the person did not allow fails
        },
        "RUN": {"scenario": "_unticking", "users": 5, "for": "1h", "settings": ("oauth.untick=true",)},
    },
    {
        "RULE": "QL411",
        "TOLD": "Whoever says no is sent back to the question.",
        "FOLLOWS": {
            "QL501",  # they get nothing
        },
        "RUN": {"scenario": "_denying", "users": 3, "for": "1h"},
        "build": "asks_again",
    },
    {
        "RULE": "QL412",
        "TOLD": "It redeems each code twice.",
        "FOLLOWS": {
            "QL501",  # the provider revokes what the first use brought
        },
        "RUN": {"users": 5},
        "build": "redeems_twice",
    },
    {
        "RULE": "QL413",
        "TOLD": "It tries the password grant first.",
        "RUN": {"users": 5},
        "build": "password_grant",
    },
    {
        "RULE": "QL414",
        "TOLD": "It sends its secret in the address of the token endpoint.",
        "RUN": {"users": 5},
        "build": "secret_in_url",
    },
    {
        "RULE": "QL415",
        "TOLD": "It takes up callbacks whatever their state.",
        "FOLLOWS": {
            "QL310",  # the true callback then connects the person a second time
        },
        "RUN": {"users": 5, "settings": ("faults=[{kind='forged_state'}]",)},
        "build": "any_state",
    },
    {
        "RULE": "QL416",
        "TOLD": "It takes up callbacks from whatever issuer.",
        "FOLLOWS": {
            "QL310",  # the true callback then connects the person a second time
        },
        "RUN": {"users": 5, "settings": ("faults=[{kind='wrong_issuer'}]",)},
        "build": "any_issuer",
    },
    {
        "RULE": "QL417",
        "TOLD": "It takes up a code that another person had got.",
        "FOLLOWS": {
            "QL401",  # PKCE is what would have kept it out
        },
        "RUN": {
            "users": 5,
            "settings": ("oauth.pkce=optional", "faults=[{kind='injected_code'}]"),
        },
        "build": "without_pkce",
    },
]


def without_pkce(access):
    app = reference(access)
    _asking(app, code_challenge=None, code_challenge_method=None)
    _sending(app, lambda form: form.pop("code_verifier", None))
    return app


def plain(access):
    app = reference(access)
    start = app._authorizer.start

    def in_the_clear(person):
        address = start(person)
        state = dict(parse_qsl(urlsplit(address).query))["state"]
        verifier = app._authorizer._pending[state].verifier
        return _changed(address, code_challenge=verifier, code_challenge_method="plain")

    app._authorizer.start = in_the_clear
    return app


def one_verifier(access):
    app = reference(access)
    app._authorizer._entropy = _Drawing(app._authorizer._entropy, "app-verifier", lambda _: "v" * 64)
    return app


def short_state(access):
    app = reference(access)
    app._authorizer._entropy = _Drawing(app._authorizer._entropy, "app-state", lambda drawn: drawn[:8])
    return app


def other_redirect_uri(access):
    app = reference(access)
    _sending(app, lambda form: form.update(redirect_uri="https://app.test/other"))
    return app


def over_scoped(access):
    return _with_scope(access, "read,activity:read,activity:write")


def restricted(access):
    return _with_scope(access, "events.read events.write calendar.admin")


def unknown(access):
    return _with_scope(access, "events.read events.write calendars.all")


def too_few(access):
    return _with_scope(access, "events.read")


def asks_again(access):
    """What the scenario's people are sent to, when they come back with no."""
    app = reference(access)
    finish = app._authorizer.finish

    def again(callback):
        answered = dict(parse_qsl(urlsplit(callback).query))
        pending = app._authorizer._pending.get(answered.get("state", ""))
        if answered.get("error") == "access_denied" and pending is not None:
            return app._authorizer.start(pending.person)
        return finish(callback)

    app._authorizer.finish = again
    return app


def redeems_twice(access):
    app = reference(access)
    post = app._authorizer._post

    def twice(body):
        response = post(body)
        if "grant_type=authorization_code" in body:
            post(body)
        return response

    app._authorizer._post = twice
    return app


def password_grant(access):
    app = reference(access)
    post = app._authorizer._post

    def first(body):
        if "grant_type=authorization_code" in body:
            post(urlencode({"grant_type": "password", "username": "ann", "password": "secret"}))
        return post(body)

    app._authorizer._post = first
    return app


def secret_in_url(access):
    app = reference(access)
    endpoint = access.token_endpoint
    post = app._client.post

    def in_the_address(url, **more):
        if url == endpoint:
            more["params"] = {"client_id": access.client_id, "client_secret": access.client_secret}
        return post(url, **more)

    app._client.post = in_the_address
    return app


def any_state(access):
    app = reference(access)
    finish = app._authorizer.finish

    def whatever(callback):
        pending = app._authorizer._pending
        state = dict(parse_qsl(urlsplit(callback).query)).get("state", "")
        known = state if state in pending else next(reversed(pending), state)
        return finish(_changed(callback, state=known))

    app._authorizer.finish = whatever
    return app


def any_issuer(access):
    app = reference(access)
    finish = app._authorizer.finish
    app._authorizer.finish = lambda callback: finish(_changed(callback, iss=access.issuer))
    return app


def _with_scope(access, scope):
    app = reference(access)
    app._authorizer._scope = scope
    return app


def _asking(app, **changes):
    """Change the authorization requests of an app; None leaves a parameter out."""
    start = app._authorizer.start
    app._authorizer.start = lambda person: _changed(start(person), **changes)


def _sending(app, change):
    """Change the forms with which codes are redeemed."""
    post = app._authorizer._post

    def changed(body):
        form = dict(parse_qsl(body))
        if form.get("grant_type") == "authorization_code":
            change(form)
        return post(urlencode(form))

    app._authorizer._post = changed


def _changed(address, **parameters):
    parts = urlsplit(address)
    query = {**dict(parse_qsl(parts.query, keep_blank_values=True)), **parameters}
    kept = {name: value for name, value in query.items() if value is not None}
    return urlunsplit(parts._replace(query=urlencode(kept)))


class _Drawing:
    """An entropy whose tokens of one purpose are changed."""

    def __init__(self, inner, purpose, change):
        self._inner, self._purpose, self._change = inner, purpose, change

    def token(self, purpose, nbytes=32):
        drawn = self._inner.token(purpose, nbytes)
        return self._change(drawn) if purpose == self._purpose else drawn
