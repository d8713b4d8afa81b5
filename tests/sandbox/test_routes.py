"""What the API answers from the profile's routes: pages, items, views, tenants, objects."""

from __future__ import annotations

import base64
import json
from urllib.parse import parse_qs, urlsplit

import pytest

from quotalab.profiles.templates import parse_template
from quotalab.sandbox.items import ItemIds

SECOND_NS = 10**9
OURS = {"where": "a test", "confidence": "own"}
ROOMY = {"roomy": {"kind": "fixed_window", "limit": 100_000, "period": "1d", "source": OURS}}
ITEM = {"id": "{id}", "n": "{n}", "title": "An item", "who": "{person}", "of": "{tenant}"}


def things(initial: int = 7, **fields) -> dict:
    """Collections: seven things of each person."""
    return {"things": {"initial": initial, "item": {"id": "{id}", "n": "{n}"}, **fields}}


def route(answer: str, **fields) -> dict:
    """One route at /things."""
    found = {"name": answer, "path": "/things", "answer": answer, **fields}
    return found if answer == "fixed" else {"collection": "things", **found}


@pytest.fixture
def opened(open_world, face):
    """A world with collections and routes of its own, and a token."""

    def make(*routes: dict, collections: dict | None = None, **laid):
        world = open_world(
            face=face,
            limits=laid.pop("limits", ROOMY),
            collections=collections or things(),
            routes=list(routes),
            reference=laid.pop("reference", None)
            or {
                "list": {"path": "/things", "items_at": "/things"},
                "read": {"path": "/things/{n}"},
                "create": {"path": "/things"},
                "scope": "events.read events.write",
            },
            **laid,
        )
        return world, world.connect()["access_token"]

    return make


ALL = {
    **{name: f"{{{name}}}" for name in ("items", "count", "total", "size", "page", "offset", "more")},
    **{name: f"{{{name}}}" for name in ("next", "next_or_empty", "next_or_omitted", "next_url_or_omitted")},
}


def shown(body: dict) -> dict:
    """A page with its items' numbers."""
    return {**body, "items": [item["n"] for item in body["items"]]}


@pytest.mark.parametrize(
    ("style", "second", "third"), [("page", "2", "3"), ("offset", "3", "6"), ("cursor", None, None)]
)
def test_a_list_is_paged_in_each_style(opened, style, second, third):
    """Seven items by three are pages of 3, 3 and 1, with all that a list may tell of them."""
    world, token = opened(route("list", body=ALL, page={"style": style, "size": 3, "most": 3}))
    first = world.call(token, "/things").json()
    second = second or first["next"]
    assert shown(first) == {
        **{"items": [1, 2, 3], "count": 3, "total": 7, "size": 3, "page": 1, "offset": 0, "more": True},
        **dict.fromkeys(("next", "next_or_empty", "next_or_omitted"), second),
        "next_url_or_omitted": f"https://provider.test/v1/things?{style}={second}",
    }
    middle = world.call(token, f"/things?{style}={second}").json()
    third = third or middle["next"]
    assert (shown(middle)["items"], middle["page"], middle["offset"]) == ([4, 5, 6], 2, 3)
    last = world.call(token, f"/things?{style}={third}").json()
    assert shown(last) == {
        **{"items": [7], "count": 1, "total": 7, "size": 3, "page": 3, "offset": 6, "more": False},
        "next": None,
        "next_or_empty": "",
    }


def test_a_cursor_can_be_decoded_and_only_its_own_form_is_taken(opened):
    """Opaque text; anything else, also what decodes to the same, is a bad request."""
    world, token = opened(route("list", page={"style": "cursor", "size": 3, "most": 3}))
    cursor = world.call(token, "/things").json()["next_page"]
    assert base64.urlsafe_b64decode(cursor + "==") == b"after:3"
    assert world.call(token, "/things?cursor=").json()["things"][0]["n"] == 1
    for wrong in (
        *("x", "3", cursor + "=", cursor + "\n", cursor[:-1], "A" * 5000, "é", "////", cursor.lower()),
        *(base64.urlsafe_b64encode(text).decode().rstrip("=") for text in (b"after:-1", b"after:03", b"x:3")),
    ):
        answer = world.http.get(
            "/v1/things", params={"cursor": wrong}, headers={"Authorization": f"Bearer {token}"}
        )
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(("asked", "size"), [("1", 1), ("4", 4), ("5", 5), ("6", 5), ("999999999", 5)])
def test_the_page_size_may_be_asked_for_up_to_the_most(opened, asked, size):
    """More than the most is answered with the most."""
    world, token = opened(route("list", body=ALL, page={"size": 2, "most": 5, "size_at": "query:n"}))
    body = world.call(token, f"/things?n={asked}").json()
    assert (body["count"], body["size"]) == (size, size)


@pytest.mark.parametrize("asked", ["0", "-1", "x", "", "1.5", "1" * 20, "٣"])
def test_a_page_size_that_is_none_is_a_bad_request(opened, asked):
    """400, never a crash."""
    world, token = opened(route("list", page={"size": 2, "most": 5, "size_at": "query:n"}))
    answer = world.http.get("/v1/things", params={"n": asked}, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 400


def test_pages_may_be_asked_for_in_json_form_header_or_path(opened):
    """Wherever the profile says that the request says it; GraphQL's variables included."""
    page = {"style": "offset", "size": 2, "most": 9}
    world, token = opened(
        route("list", name="json", method="POST", path="/g", page={
            "at": "json:variables.after", "size_at": "json:variables.first", **page}),
        route("list", name="form", method="POST", path="/f", page={"at": "form:start", **page}),
        route("list", name="header", path="/h", page={"at": "header:X-Start", **page}),
        route("list", name="path", path="/p/{start}", page={"at": "query:start", **page}),
    )  # fmt: skip

    def numbers(answer) -> list[int]:
        assert answer.status_code == 200, answer.text
        return [item["n"] for item in answer.json()["things"]]

    post = lambda path, **more: numbers(world.call(token, path, "POST", **more))  # noqa: E731
    assert post("/g", json={"query": "{}", "variables": {"after": "2", "first": 3}}) == [3, 4, 5]
    assert post("/g", json={"query": "{}", "variables": {"after": None}}) == [1, 2]
    assert post("/g", json={"variables": []}) == [1, 2]
    assert post("/g", content=b"x") == [1, 2]
    assert post("/f", data={"start": "4"}) == [5, 6]
    assert numbers(world.call(token, "/h", headers={"X-Start": "6"})) == [7]
    assert world.call(token, "/g", "POST", json={"variables": {"after": True}}).status_code == 200
    assert world.call(token, "/g", "POST", json={"variables": {"after": -1}}).status_code == 400


def test_the_next_address_keeps_the_rest_of_the_query(opened):
    """Link headers (RFC 8288) and whole addresses in bodies; on the last page there is no header."""
    link = {"name": "Link", "value": '<{next_url}>; rel="next"'}
    world, token = opened(
        route("list", body={"next": "{next_url}"}, headers=[link], page={"size": 3, "most": 3})
    )
    answer = world.call(token, "/things?q=a%20b%C3%A9&page=1&x=%0d%0a")
    address = answer.json()["next"]
    assert answer.headers["link"] == f'<{address}>; rel="next"'
    assert address.startswith("https://provider.test/v1/things?")
    assert parse_qs(urlsplit(address).query) == {"q": ["a bé"], "x": ["\r\n"], "page": ["2"]}
    assert world.http.get(address, headers={"Authorization": f"Bearer {token}"}).status_code == 200
    last = world.call(token, "/things?page=3")
    assert (last.json(), "link" in last.headers) == ({"next": None}, False)


def test_a_page_that_everybody_shares_is_never_somebodys_own(opened):
    """Pages of what is there from the start are kept; what a person created is that person's alone."""
    page = {"size": 3, "most": 3}
    create = route("create", method="POST")
    world, ann = opened(route("list", page=page), create)
    bob = world.connect("p00002")["access_token"]
    for _ in range(2):
        assert [item["n"] for item in world.call(ann, "/things").json()["things"]] == [1, 2, 3]
    world.call(ann, "/things", "POST", json={})
    assert world.call(ann, "/things?page=3").json() == {
        "things": [{"id": "7", "n": 7}, {"id": "8", "n": 8}],
        "next_page": None,
    }
    assert world.call(bob, "/things?page=3").json()["things"] == [{"id": "7", "n": 7}]
    assert world.sandbox._api._static[("GET", "/v1/things")].common_pages.keys() == {(0, 3)}


def test_a_page_that_tells_the_total_tells_each_persons_own(opened):
    """What is the same for everybody is kept, what is not is not."""
    page = {"size": 3, "most": 3}
    body = {"items": "{items}", "total": "{total}"}
    world, ann = opened(route("list", page=page, body=body), route("create", method="POST"))
    bob = world.connect("p00002")["access_token"]
    world.call(ann, "/things")
    world.call(ann, "/things", "POST", json={})
    totals = [world.call(token, "/things").json()["total"] for token in (ann, bob, ann)]
    assert totals == [8, 7, 8]


@pytest.mark.parametrize(
    ("of", "shared"), [("person", [False, False]), ("tenant", [True, False]), ("app", [True, True])]
)
def test_items_are_a_persons_a_tenants_or_the_apps(opened, of, shared):
    """Of three people the first two share a tenant: who sees what the first one created."""
    world, ann = opened(
        route("list", body={"total": "{total}", "items": "{items}"}),
        route("create", method="POST"),
        collections=things(1, of=of, item=ITEM),
        tenants={"people": 2, "id": "T{n}"},
    )
    bob, eve = (world.connect(person)["access_token"] for person in ("p00002", "p00003"))
    made = world.call(ann, "/things", "POST", json={"title": "Mine", "who": "x"}).json()
    assert made == {"id": "2", "n": 2, "title": "Mine", "who": "x", "of": "T1"}
    lists = [world.call(token, "/things").json() for token in (ann, bob, eve)]
    assert [body["total"] for body in lists] == [2, *[2 if seen else 1 for seen in shared]]
    first = {
        "person": [("p00001", "T1"), ("p00002", "T1"), ("p00003", "T2")],
        "tenant": [(None, "T1"), (None, "T1"), (None, "T2")],
        "app": [(None, None)] * 3,
    }[of]
    assert [(body["items"][0]["who"], body["items"][0]["of"]) for body in lists] == first


def test_ids_go_both_ways(opened):
    """An id is text around a formatted number; whatever is not exactly one is not found."""
    world, token = opened(
        route("list", body="{items}"),
        route("read", path="/things/{id}.json", body={"it": "{item}", "id": "{id}", "n": "{n}"}),
        route("create", method="POST", body={"id": "{id}", "n": "{n}"}),
        collections=things(300, id="gid://x/Thing-{n:04x}"),
    )
    assert world.call(token, "/things").json()[9]["id"] == "gid://x/Thing-000a"
    world, token = opened(
        route("read", path="/things/{id}.json", body={"it": "{item}", "id": "{id}", "n": "{n}"}),
        route("create", method="POST", body={"id": "{id}", "n": "{n}"}),
        collections=things(300, id="T-{n:04x}-z"),
    )
    assert world.call(token, "/things/T-00ff-z.json").json() == {
        "it": {"id": "T-00ff-z", "n": 255},
        "id": "T-00ff-z",
        "n": 255,
    }
    assert world.call(token, "/things", "POST", json={}).json() == {"id": "T-012d-z", "n": 301}
    for wrong in (
        "T-0000-z",
        "T-ff-z",
        "T-00FF-z",
        "T-00ff",
        "00ff",
        "T-0x0f-z",
        "T-00_f-z",
        "T-ffff-z",
        "T--z",
    ):
        assert world.call(token, f"/things/{wrong}.json").status_code == 404


@pytest.mark.parametrize("template", ["{n}", "x{n:04d}", "{n:1x}y", "{n:020b}", "a-{n:3X}-b", "{n:2o}"])
def test_every_id_leads_back_to_its_number(template):
    """For all kinds of format, and for nothing else."""
    ids = ItemIds(parse_template(template, ("n",), (), refused=False))
    assert [ids.number(ids.of(n)) for n in range(1, 400)] == list(range(1, 400))
    assert ids.number(ids.of(0)) is None
    for wrong in ("", "-1", "+1", " 1", "1 ", "٣", "1" * 10_000, "x", "0x1", "\x00"):
        assert ids.number(wrong) is None or ids.of(ids.number(wrong)) == wrong


def test_a_read_takes_its_id_from_where_the_profile_says(opened):
    """Slack's and GraphQL's ways: query, form or JSON; a whole number counts as its text."""
    world, token = opened(
        route("read", name="q", path="/q", id_at="query:channel"),
        route("read", name="j", path="/j", method="POST", id_at="json:variables.id"),
    )
    assert world.call(token, "/q?channel=3").json() == {"id": "3", "n": 3}
    assert world.call(token, "/j", "POST", json={"variables": {"id": 4}}).json()["n"] == 4
    for path, method, more in (("/q", "GET", {}), ("/j", "POST", {"json": {"variables": {"id": [4]}}})):
        assert world.call(token, path, method, **more).status_code == 404


def test_a_route_may_show_less_of_an_item(opened):
    """`item`: lists show what the profile says; of a created item its own values, of no other keys."""
    world, token = opened(
        route("list", item={"key": "{id}", "name": "Thing {n}", "note": ""}, body="{items}"),
        route("read", path="/things/{id}"),
        route("create", method="POST", item={"key": "{id}", "note": ""}),
        collections=things(1, item={"id": "{id}", "note": "none"}),
    )
    made = world.call(token, "/things", "POST", json={"note": "x", "key": "y", "more": 1, "name": "z"})
    assert made.json() == {"key": "2", "note": "x"}
    assert world.call(token, "/things/2").json() == {
        **{"id": "2", "note": "x", "key": "y"},
        **{"more": 1, "name": "z"},
    }
    assert world.call(token, "/things").json() == [
        {"key": "1", "name": "Thing 1", "note": ""},
        {"key": "2", "name": "Thing 2", "note": "x"},
    ]


def test_a_form_creates_an_item_too(opened):
    """Its fields are texts; those whose template has the id or the number in it stay the provider's."""
    world, token = opened(
        route("create", method="POST"),
        collections=things(0, item={"url": ["/x/{n}"], "a": 1, "at": "{now_iso}"}),
    )
    world.clock.jump(3 * SECOND_NS)
    made = world.call(token, "/things", "POST", data={"a": "2", "b": "é", "url": "evil", "id": "9"})
    assert made.json() == {"url": ["/x/1"], "a": "2", "at": "2026-01-05T00:00:03Z", "b": "é", "id": "9"}
    assert (made.status_code, made.headers["location"]) == (201, "/v1/things/1")


def test_a_create_may_answer_in_any_way(opened):
    """Status and body are the profile's; Location comes with 201 alone, unless the profile has its own."""
    own = [{"name": "Location", "value": "/made/{id}"}]
    world, token = opened(
        route(
            "create", method="POST", status=200, body={"ok": True, "made": "{item}", "ids": ["{n}", "{id}"]}
        ),
        route("create", name="own", method="POST", path="/own", headers=own),
    )
    made = world.call(token, "/things", "POST", json={})
    assert (made.status_code, made.json()) == (
        200,
        {"ok": True, "made": {"id": "8", "n": 8}, "ids": [8, "8"]},
    )
    assert "location" not in made.headers
    assert world.call(token, "/own", "POST", json={}).headers.get_list("location") == ["/made/9"]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "HEAD"])
def test_fixed_answers_know_paths_and_callers(opened, method):
    """Any method of the route; segments, caller and time in body; 204 has no body at all."""
    body = {"path": "{a}-{b}", "a": "{a}", "me": "{person_n}", "tenant": "{tenant}", "now": "{now_epoch_s}"}
    world, token = opened(
        route("fixed", path="/x/{a}/y/{b}", method=["GET", method], status=202, body=body),
        route("fixed", name="nothing", path="/none", method=method, status=204, body={"x": 1}),
    )
    answer = world.call(token, '/x/"%22%C3%A9/y/2', method)
    assert answer.status_code == 202
    if method != "HEAD":
        assert answer.json() == {
            **{"path": '""é-2', "a": '""é', "me": 1},
            **{"tenant": "tenant-1", "now": 1_767_571_200},
        }
    nothing = world.call(token, "/none", method)
    assert (nothing.status_code, nothing.content) == (204, b"")
    assert "content-type" not in nothing.headers


def test_a_text_answer_is_a_text(opened):
    """Another content type: the text as it is, or with its fields."""
    world, token = opened(
        route("fixed", content_type="text/csv; charset=utf-8", body="a,b\r\n{person},{message}é%"),
        route("fixed", name="t", path="/t", content_type="text/plain", body="100% {{}} é"),
    )
    answer = world.call(token, "/things")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert world.call(token, "/t").content == "100% {} é".encode()


# ---- tenants


def tenant_world(opened, at: str, path: str = "/things"):
    """A world whose calls say their tenant; limits of tenant and app."""
    limits = {
        name: {"kind": "fixed_window", "limit": 9, "period": "1h", "key": key, "source": OURS}
        for name, key in (("tenant", ["tenant"]), ("app", ["app"]))
    }
    return opened(
        route("fixed", path=path, body={"tenant": "{tenant}"}),
        route("fixed", name="which", path="/which", body=["{tenant}"], tenant=False),
        limits=limits,
        tenants={"people": 2, "id": "T-{n:03d}", "at": at},
        errors={"no_tenant": {"status": 403}, "foreign_tenant": {"status": 404}},
        reference={
            "scope": "events.read events.write",
            **{"list": {"path": "/things", "items_at": ""}, "read": {"path": "/x"}, "create": {"path": "/x"}},
        },
    )


def test_a_tenant_in_a_header_must_be_the_persons(opened):
    """Missing or another's: the provider's errors; such calls are asked only of limits without a tenant."""
    world, token = tenant_world(opened, "header:X-Tenant")
    for tenant, status in (
        ("T-001", 200),
        (None, 403),
        ("T-002", 404),
        ("", 403),
        ("t-001", 404),
        ("1", 404),
    ):
        headers = {"X-Tenant": tenant} if tenant is not None else {}
        assert world.call(token, "/things", headers=headers).status_code == status
    rows = [row for row in world.rows() if row["kind"] == "api"]
    assert [row["tenant"] for row in rows] == ["T-001", None, None, None, None, None]
    assert [dict(row["keys"]) for row in rows] == [{"tenant": "T-001", "app": "app-1"}] + [
        {"app": "app-1"}
    ] * 5
    assert [row["error"] for row in rows[1:3]] == ["invalid_request", "forbidden"]


def test_people_share_tenants_by_their_number(opened):
    """Two in each: the third person is the second tenant's first."""
    world, _ = tenant_world(opened, "header:X-Tenant")
    tokens = [world.connect(f"p{n:05d}")["access_token"] for n in (2, 3)]
    assert [world.call(token, "/which").json() for token in tokens] == [["T-001"], ["T-002"]]
    assert world.call(tokens[1], "/things", headers={"X-Tenant": "T-002"}).status_code == 200


def test_where_the_tenant_is_told_none_need_be_said(opened):
    """An app that has not asked yet cannot know; what it says nevertheless must be right."""
    world, token = tenant_world(opened, "header:X-Tenant")
    assert world.call(token, "/which").json() == ["T-001"]
    assert world.call(token, "/which", headers={"X-Tenant": "T-002"}).status_code == 404
    assert [row["tenant"] for row in world.rows()[-2:]] == [None, None]


def test_a_tenant_in_the_path_must_be_the_persons(opened):
    """Routes without that segment need none; an unknown route stays unknown."""
    world, token = tenant_world(opened, "path:site", "/sites/{site}/things")
    paths = ("/sites/T-001/things", "/sites/T-002/things", "/which", "/x")
    assert [world.call(token, path).status_code for path in paths] == [200, 404, 200, 404]
    assert [row["error"] for row in world.rows()[-4:]] == [None, "forbidden", None, "not_found"]


def test_without_a_place_for_it_the_tenant_is_the_persons_own(opened):
    """It is the key all the same."""
    limits = {"t": {"kind": "fixed_window", "limit": 9, "period": "1h", "key": ["tenant"], "source": OURS}}
    world, token = opened(route("fixed"), limits=limits, tenants={"id": "shop-{n}.test"})
    world.call(token, "/things")
    row = world.last()
    assert (row["tenant"], dict(row["keys"])) == ("shop-1.test", {"t": "shop-1.test"})


# ---- objects


@pytest.mark.parametrize(
    ("object_at", "path", "more", "text"),
    [
        ("path:id", "/o/C-1.x_Y", {}, "C-1.x_Y"),
        ("query:channel", "/o/1?channel=C024BE91L", {}, "C024BE91L"),
        ("json:a.b", "/o/1", {"json": {"a": {"b": 12}}}, "12"),
        ("form:channel", "/o/1", {"data": {"channel": "x"}}, "x"),
        ("header:X-Object", "/o/1", {"headers": {"X-Object": "y"}}, "y"),
    ],
)
def test_an_object_is_the_key_of_its_limits(opened, object_at, path, more, text):
    """Short names as they stand, wherever the request says them, in the ledger and as the key."""
    limits = {
        **ROOMY,
        "object": {"kind": "rolling_window", "limit": 2, "period": "1h", "key": ["object"], "source": OURS},
    }
    world, token = opened(
        route("fixed", path="/o/{id}", method=["GET", "POST"], object_at=object_at), limits=limits
    )
    statuses = [world.call(token, path, "POST", **more).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    row = world.last()
    assert (row["object"], dict(row["keys"])["object"]) == (text, text)


@pytest.mark.parametrize("text", ["x" * 16, "a b", "é", "a|b", "a" * 3000])
def test_an_object_that_could_be_a_secret_is_known_by_its_mark(opened, text):
    """Longer than 15 or of other characters: the recorder's mark, as the engine's key too."""
    limits = {"o": {"kind": "rolling_window", "limit": 2, "period": "1h", "key": ["object"], "source": OURS}}
    world, token = opened(route("fixed", object_at="query:o"), limits=limits)
    world.http.get("/v1/things", params={"o": text}, headers={"Authorization": f"Bearer {token}"})
    row = world.last()
    assert row["object"] == world.sandbox._recorder.mark(text)
    assert dict(row["keys"]) == {"o": row["object"]}


def test_without_an_object_its_limits_are_not_asked(opened):
    """A call that names none is asked of the others."""
    limits = {
        **ROOMY,
        "o": {"kind": "rolling_window", "limit": 2, "period": "1h", "key": ["object"], "source": OURS},
    }
    world, token = opened(route("fixed", object_at="query:o"), limits=limits)
    world.call(token, "/things")
    row = world.last()
    assert (row["object"], [name for name, _ in row["keys"]]) == (None, ["roomy"])


# ---- costs by objects


def test_objects_are_counted_where_a_cost_needs_them(opened):
    """R and A: a page's items and its size, a read 1 of 1 or 0 of 1, a create 1 of 1, fixed and errors 0."""
    cost = {"base": 1, "per_object": 2, "when": "refund"}
    limits = {
        "points": {"kind": "rolling_window", "limit": 9999, "period": "1h", "source": OURS, "cost": cost}
    }
    world, token = opened(
        route("list", page={"size": 5, "most": 9, "size_at": "query:n"}),
        route("read", path="/things/{id}"),
        route("create", method="POST"),
        route("fixed", path="/fixed"),
        limits=limits,
    )
    for path, method in (
        *(("/things", "GET"), ("/things?page=2", "GET"), ("/things?n=9", "GET"), ("/things?page=9", "GET")),
        *(("/things?page=x", "GET"), ("/things/7", "GET"), ("/things/8", "GET"), ("/things", "POST")),
        *(("/fixed", "GET"), ("/x", "GET")),
    ):
        world.call(token, path, method, **({"json": {}} if method == "POST" else {}))
    rows = [row for row in world.rows() if row["kind"] == "api"]
    counted = [(row["objects"], row["objects_asked"]) for row in rows]
    assert counted == [(5, 5), (2, 5), (7, 9), (0, 5), (0, 0), (1, 1), (0, 1), (1, 1), (0, 0), (0, 0)]
    assert [dict(row["charges"])["points"] for row in rows] == [1 + 2 * found for found, _ in counted]
    assert [row["cost"] for row in rows] == [1 + 2 * asked for _, asked in counted]


def test_objects_of_a_list_are_counted_whatever_is_charged_and_others_where_it_is_needed(opened):
    """How large the pages are is the judges' business; of a single object nothing is to be learnt."""
    world, token = opened(route("list"))
    world.call(token, "/things")
    row = world.last()
    assert (row["objects"], row["objects_asked"], row["cost"]) == (7, 50, 1)
    world, token = opened(route("read", path="/things/{id}"))
    world.call(token, "/things/7")
    row = world.last()
    assert (row["objects"], row["objects_asked"], row["cost"]) == (0, 0, 1)


def test_a_refused_list_says_what_it_would_have_returned(opened):
    """The ledger has what the decision was made from; the answer is the refusal."""
    cost = {"base": 0, "per_object": 1}
    limits = {"points": {"kind": "rolling_window", "limit": 6, "period": "1h", "source": OURS, "cost": cost}}
    world, token = opened(route("list", page={"size": 5, "most": 5}), limits=limits)
    assert [world.call(token, "/things").status_code for _ in range(2)] == [200, 429]
    row = world.last()
    assert (row["objects"], row["objects_asked"], row["cost"], row["charges"]) == (5, 5, 5, [])


def test_scopes_that_are_missing_return_no_objects(opened):
    """A 403 has nothing in it, and costs its base."""
    cost = {"base": 3, "per_object": 1}
    limits = {"points": {"kind": "rolling_window", "limit": 99, "period": "1h", "source": OURS, "cost": cost}}
    world, _ = opened(route("list", scopes=["events.write"]), limits=limits)
    token = world.connect("p00002", scope="events.read")["access_token"]
    assert world.call(token, "/things").status_code == 403
    row = world.last()
    assert (row["objects"], row["objects_asked"], row["cost"]) == (0, 0, 3)


def test_json_of_a_whole_page_is_json(opened):
    """Whatever stands in a title stays inside it: quotes, percent signs, braces, other letters."""
    title = '"}{%s %% {{}} é \u2028 \\ </script>'
    item = {"id": "{id}", "title": title.replace("{", "{{").replace("}", "}}")}
    world, token = opened(route("list", body={"a%b": "{items}"}), collections=things(2, item=item))
    body = world.call(token, "/things").json()
    assert [one["title"] for one in body["a%b"]] == [title] * 2
    assert json.loads(json.dumps(body)) == body
