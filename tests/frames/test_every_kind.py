"""Every kind of limit, every mode of cost and refusal: the judges against plain lists, call by call."""

from __future__ import annotations

from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st

from quotalab.frames import disagreements, limit_uses, load
from quotalab.frames.testing import LedgerBuilder, provider_document
from quotalab.ledger import Call, OAuthFacts
from quotalab.profiles.limits import KINDS

SECOND = 10**9
DAY = 86_400
PARTS = ["app", "person", "tenant", "token", "ip", "route", "object"]
ROUTES = {"list": ("reads",), "read": ("reads", "cheap"), "write": ()}

SMALL = st.integers(1, 5)
KEYS = st.one_of(st.just(["app"]), st.lists(st.sampled_from(PARTS), min_size=1, max_size=2, unique=True))
COSTS = st.one_of(
    st.integers(0, 3),
    st.fixed_dictionaries(
        {
            "base": st.integers(0, 2),
            "per_object": st.integers(0, 2),
            "when": st.sampled_from(["before", "refund", "after"]),
            "routes": st.sampled_from([{}, {"write": 2}]),
            "methods": st.sampled_from([{}, {"POST": 2, "GET": 0}]),
        }
    ),
)
MATCHES = st.one_of(
    st.just({}),
    st.fixed_dictionaries(
        {
            "routes": st.sampled_from([["list"], ["read", "write"], []]),
            "tags": st.sampled_from([["reads"], ["cheap"], []]),
            "methods": st.sampled_from([["GET"], ["POST", "GET"], []]),
        }
    ),
    st.just({"kinds": ["api", "token"]}),
)
ANYBODY = st.sampled_from(
    [
        {"match": {"callers": "all"}, "key": ["ip"]},
        {"match": {"callers": "anonymous"}, "key": ["ip", "route"]},
    ]
)
REFUSED = st.sampled_from(["free", "this", "longer", "all"])


def seconds(unit, most):
    return st.integers(1, most).map(lambda n: f"{n * unit}s")


@st.composite
def windows(draw, unit):
    """Period, alignment and zone of fixed windows."""
    align = draw(st.sampled_from(["clock", "clock", "first_call", "offset"]))
    if align != "clock" or draw(st.booleans()):
        return {"period": draw(seconds(unit, 6)), "align": align}
    zone = draw(
        st.sampled_from(["UTC", "America/New_York", "America/St_Johns", "Asia/Kolkata", "Africa/Cairo"])
    )
    if draw(st.integers(0, 3)) == 0:
        return {"period": "month", "zone": zone}
    sizes = ["1s", "2s", "5s"] if unit == 1 else ["6h", "12h", "24h", "48h", "72h"]
    return {"period": draw(st.sampled_from(sizes)), "zone": zone}


@st.composite
def a_limit(draw, unit):
    kind = draw(st.sampled_from([*KINDS, "rolling_window", "token_bucket", "fixed_window"]))
    limit = {"kind": kind, "key": draw(KEYS), "match": draw(MATCHES)}
    if draw(st.integers(0, 5)) == 0:
        limit |= draw(ANYBODY)
    if "kinds" in limit["match"]:
        limit["key"] = draw(st.sampled_from([["app"], ["ip"], ["person", "app"]]))
    if kind in ("rolling_window", "fixed_window", "token_bucket", "balance", "opaque"):
        limit |= {"cost": draw(COSTS), "refused_calls": draw(REFUSED)}
    if kind == "rolling_window":
        limit |= {"limit": draw(SMALL), "period": draw(seconds(unit, 8))}
    elif kind == "fixed_window":
        limit |= {"limit": draw(SMALL), **draw(windows(unit))}
    elif kind == "token_bucket":
        rate = draw(st.sampled_from(["1", "2", "1/3", "0.7", "3/7"]))
        limit |= {"capacity": draw(SMALL), "rate": f"{rate}/{unit}s"}
    elif kind == "concurrency":
        limit |= {"limit": draw(st.integers(1, 2)), "min_age": f"{draw(st.integers(0, 2)) * unit}s"}
    elif kind == "balance":
        limit |= {"credits": draw(SMALL), "may_go_negative": draw(st.booleans())}
        if draw(st.booleans()):
            limit |= draw(windows(unit).filter(lambda window: window.get("align", "clock") == "clock"))
    elif kind == "cardinality":
        limit |= {"limit": draw(st.integers(1, 3))}
        of = [part for part in ("person", "tenant", "token", "ip", "object") if part not in limit["key"]]
        limit |= {"of": draw(st.sampled_from(of))}
        if draw(st.booleans()):
            evict = {"kinds": ["token"]}
            limit |= {"of": "token", "on_excess": "evict_oldest", "match": evict, "key": ["app", "person"]}
        elif limit["match"].get("kinds") or limit["match"].get("callers"):
            limit |= {"of": "person", "match": {"kinds": ["authorize"]}, "key": ["app"]}
    elif kind == "penalty":
        limit |= {"statuses": draw(st.sampled_from([[429], [401, 403], [200, 429]]))}
        limit |= {"threshold": draw(st.integers(1, 3)), "window": draw(seconds(unit, 6))}
        limit |= {"action": draw(st.sampled_from(["block", "extend", "ban"]))}
        if limit["action"] != "ban":
            block = draw(st.integers(1, 4))
            limit |= {"block": f"{block * unit}s", "escalation": draw(st.integers(1, 3))}
            limit |= {"longest": f"{draw(st.integers(block, 12)) * unit}s", "forgive": draw(seconds(unit, 9))}
    else:
        limit |= {"floor": 1, "ceiling": draw(st.integers(1, 5))}
        counts = draw(st.sampled_from(["rolling_window", "fixed_window"]))
        limit |= {"counts": counts, **(draw(windows(unit)) if counts == "fixed_window" else {})}
        limit.setdefault("period", draw(seconds(unit, 6)))
    return limit


def can_change(limit):
    return limit["kind"] in ("rolling_window", "fixed_window", "token_bucket") or (
        limit["kind"] == "balance" and "period" not in limit
    )


STEPS = st.lists(
    st.fixed_dictionaries(
        {
            "gap": st.sampled_from([0, 0, 1, 1, 2, 3, 7]),
            "work": st.sampled_from([0, 0, 1, 2, 5]),
            "kind": st.sampled_from(["api"] * 6 + ["token", "authorize"]),
            "person": st.sampled_from(["ann", "bob", "cem"]),
            "tenant": st.sampled_from(["acme", "bolt", None]),
            "object": st.sampled_from(["o1", "o2", None]),
            "token": st.sampled_from(["t1", "t2"]),
            "ip": st.sampled_from(["10.0.0.1", "10.0.0.2"]),
            "client_id": st.sampled_from(["app", "app", "other"]),
            "route": st.sampled_from([*ROUTES, None]),
            "method": st.sampled_from(["GET", "POST", "PUT"]),
            "objects": st.integers(0, 2),
            "more": st.integers(0, 2),
            "status": st.sampled_from([200, 200, 403, 429]),
            "known": st.sampled_from([True] * 5 + [False]),
        }
    ),
    min_size=8,
    max_size=40,
)
FORMS = st.sampled_from(["none", "seconds", "decimal", "http_date", "iso", "epoch"])


@st.composite
def ledgers(draw):
    """A ledger of random calls, decided by random limits."""
    # Steps of seconds; or of six hours, around the days on which clocks are set.
    unit = draw(st.sampled_from([1, 6 * 3600]))
    limits = draw(st.lists(a_limit(unit), min_size=1, max_size=4))
    names = [f"l{i}" for i in range(len(limits))]
    timetable = []
    for i in range(draw(st.integers(0, 2))):
        changes = {
            name: draw(SMALL)
            for name, one in zip(names, limits, strict=True)
            if can_change(one) and draw(st.booleans())
        }
        if changes:
            timetable.append(
                {"after": f"{(10 * i + draw(st.integers(1, 9))) * unit}s", "why": "less", "limits": changes}
            )
    document = provider_document(
        dict(zip(names, limits, strict=True)),
        routes=ROUTES,
        refusal={"retry_after": draw(FORMS)},
        timetable=timetable,
    )
    try:
        ledger = LedgerBuilder(document)
    except Exception as error:
        if "never fits" in str(error):
            assume(False)
        raise
    at_ns = 0
    if unit > 1:
        at_ns = draw(st.sampled_from([0, 60, 108, 298])) * DAY * SECOND
    for i, drawn in enumerate(draw(STEPS)):
        step = dict(drawn)
        at_ns += step.pop("gap") * unit * SECOND + draw(st.sampled_from([0, 0, 0, SECOND // 4]))
        work, more = step.pop("work"), step.pop("more")
        step["objects_asked"] = step["objects"] + more
        if step["kind"] != "api":
            step |= {"route": None, "known": True, "tenant": None, "object": None, "token": None}
            if step["kind"] == "token":
                step["oauth"] = OAuthFacts("refresh_token", issued_refresh_token=f"r{i}")
        if not step["known"]:
            for name in ("person", "client_id", "token", "tenant", "object", "status"):
                del step[name]
        ledger.decided_call(at_ns=at_ns, answered_ns=at_ns + work * unit * SECOND, **step)
    return ledger


SLOWLY = settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)


@SLOWLY
@given(ledgers())
def test_the_judges_agree_with_plain_lists_call_by_call(tmp_path_factory, ledger):
    """Whatever the limits, decisions made by lists that are gone through anew each time have no difference."""
    for row in ledger._rows:
        note(row)
    note(ledger.provider.limits)
    frames = load(ledger.write(tmp_path_factory.mktemp("runs") / "run"))
    assert [(one.seq, one.message) for one in disagreements(frames)] == []
    for use in limit_uses(frames):
        assert (use.keys > 0) == (use.peak_at_ns is not None)


def changed(draw, call):
    """One row with one thing in it that is not so, and what the judges' message must speak of."""
    names = [name for name, _ in call.keys]
    name = draw(st.sampled_from(names))
    charges, remaining, keys = dict(call.charges), dict(call.remaining), dict(call.keys)
    what = draw(
        st.sampled_from(["limit", "promise", "charge", "no charge", "remaining", "key", "no key", "cost"])
    )
    if what == "limit":
        other = draw(st.sampled_from([None if call.limit else name, *[n for n in names if n != call.limit]]))
        return call._replace(limit=other), "but by the judges' account"
    if what == "promise":
        assume(call.limit is not None)
        promise = 7 if call.retry_after_ns is None else call.retry_after_ns + draw(st.sampled_from([-1, 1]))
        return call._replace(retry_after_ns=promise), "was promised"
    if what == "charge":
        charges[name] = charges.get(name, 0) + 1
        return call._replace(charges=tuple(charges.items())), f"to '{name}', but had to be"
    if what == "no charge":
        assume(name in charges)
        del charges[name]
        return call._replace(charges=tuple(charges.items())), f"was charged nothing to '{name}'"
    if what == "remaining":
        remaining[name] += draw(st.sampled_from([-1, 1]))
        return call._replace(remaining=tuple(remaining.items())), f"of '{name}' by the sandbox's account"
    if what == "cost":
        return call._replace(cost=call.cost + 1), "was said to cost"
    if what == "key":
        keys[name] += "x"
        return call._replace(keys=tuple(keys.items())), f"was counted by '{name}' under"
    assume(call.kind == "api")
    del keys[name]
    return call._replace(keys=tuple(keys.items())), f"without asking the limit '{name}'"


@SLOWLY
@given(ledgers(), st.data())
def test_whatever_is_not_so_of_a_row_is_found(tmp_path_factory, ledger, data):
    """A decision, a promise, a charge, what is left, a key, a cost: each that is changed is a fault of its row."""
    asked = [i for i, row in enumerate(ledger._rows) if isinstance(row, Call) and row.keys]
    assume(asked)
    place = data.draw(st.sampled_from(asked))
    ledger._rows[place], said = changed(data.draw, ledger._rows[place])
    note((place, ledger._rows[place], ledger.provider.limits))
    frames = load(ledger.write(tmp_path_factory.mktemp("runs") / "run"))
    messages = [one.message for one in disagreements(frames) if one.seq == place]
    assert [message for message in messages if said in message]
