"""OpenAPI 3.1.1: the sandbox's own description, made from the provider's profile.

Whatever the sandbox may answer is in it: every status with its content types, and the shape of every body
that the profile spells out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from quotalab import __version__
from quotalab.profiles.dialect import ErrorAnswer, Refusal
from quotalab.profiles.provider import Provider
from quotalab.profiles.routes import Parameter, Route
from quotalab.profiles.templates import Field, Template

__all__ = ["PATH", "document"]

PATH = "/.well-known/openapi.json"
SIGN_IN = "/oauth/login"

Json = dict[str, Any]

_BODILESS = (204, 205, 304)  # RFC 9110, 15.3.5, 15.3.6, 15.4.5
_HTML = "text/html; charset=utf-8"
_JSON = "application/json"
_BOOLEANS = frozenset(("more",))
_WHOLE = frozenset(
    ("n", "person_n", "count", "total", "size", "page", "offset", "now_epoch_s", "limit", "used", "remaining")
)
_TEXTS = frozenset(("now_iso", "request_id", "id", "name", "next_or_empty", "message", "scope"))
_OMITTED = frozenset(("next_or_omitted", "next_url_or_omitted"))


def document(provider: Provider, issuer: str, endpoints: Mapping[str, tuple[str, str]]) -> Json:
    """The document for the sandbox at `issuer`; `endpoints` are those of the authorization server: path ->
    kind of its calls, and who makes them."""
    schemes = _security_schemes(provider, issuer)
    shapes = _Shapes(provider)
    paths: dict[str, Json] = {}
    for route in provider.routes:
        item = paths.setdefault(provider.api_path + route.path, {})
        for method in route.methods:
            if method.lower() in _METHODS:
                item[method.lower()] = shapes.operation(route, method, [{name: []} for name in schemes])
    for path, (kind, _) in endpoints.items():
        paths[path] = _endpoint(path, kind, shapes)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": f"{provider.title}, in the sandbox of quotalab",
            "version": __version__,
            "description": provider.description,
        },
        "servers": [{"url": issuer}],
        "paths": paths,
        "components": {"securitySchemes": schemes},
    }


_METHODS = frozenset(("get", "put", "post", "delete", "options", "head", "patch", "trace"))
"""Those of a Path Item Object."""


def _security_schemes(provider: Provider, issuer: str) -> Json:
    """How a call shows its access token, one scheme for each place that the provider takes it from."""
    schemes: Json = {}
    for i, at in enumerate(provider.oauth.token_at):
        name = "token" if i == 0 else f"token-{i + 1}"
        if at.place == "authorization" and at.name == "bearer":
            schemes[name] = {
                "type": "oauth2",
                "flows": {
                    "authorizationCode": {
                        "authorizationUrl": f"{issuer}/oauth/authorize",
                        "tokenUrl": f"{issuer}/oauth/token",
                        "scopes": dict(provider.scopes),
                    }
                },
            }
        elif at.place == "authorization":
            schemes[name] = {"type": "apiKey", "in": "header", "name": "Authorization"}
        else:
            schemes[name] = {"type": "apiKey", "in": at.place, "name": at.name}
    return schemes


class _Shapes:
    """The shapes of what a provider answers."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        # What a request says of an item lies over what the profile has, whatever it is.
        self._open = {route.collection for route in provider.routes if route.answer == "create"}
        errors = [_error(error) for error in provider.dialect.errors.values()]
        refusals = [_refusal(refusal) for refusal in provider.dialect.refusals]
        self._failures = [*errors, *refusals]

    def operation(self, route: Route, method: str, security: list[Json]) -> Json:
        """The Operation Object of a route."""
        parameters = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in re.findall(r"\{(\w+)\}", route.path)
        ]
        asked = {(one["in"], one["name"]) for one in parameters}
        tenant = self._provider.tenants.at if route.tenant else None
        for at in (*_page_parameters(route), route.object_at, route.id_at, tenant):
            if at is not None and at.place in ("query", "header") and (at.place, at.name) not in asked:
                asked.add((at.place, at.name))
                parameters.append({"name": at.name, "in": at.place, "schema": {"type": "string"}})
        operation: Json = {
            "operationId": route.name if len(route.methods) == 1 else f"{route.name}-{method.lower()}",
            "security": security,
            "parameters": parameters,
            "responses": self.responses([(route.status, route.content_type, self._body(route))]),
        }
        if route.tags:
            operation["tags"] = list(route.tags)
        if route.scopes:
            operation["description"] = f"Needs: {' '.join(route.scopes)}."
        if method in ("POST", "PUT", "PATCH"):
            # Only what creates something reads the whole body, and only some providers tell by the status
            # that it was malformed.
            malformed = self._provider.dialect.errors["bad_request"].status
            reads = route.answer == "create" and malformed >= 400
            shape = {"type": "object"} if reads else {}
            operation["requestBody"] = {
                "content": {_JSON: {"schema": shape}, "application/x-www-form-urlencoded": {"schema": shape}}
            }
        return operation

    def responses(self, own: Iterable[tuple[int, str, Json | None]]) -> Json:
        """The Responses Object: one's own answers, and whatever else may come."""
        found: dict[int, dict[str, list[Json]]] = {}
        for status, content_type, schema in (*own, *self._failures):
            kinds = found.setdefault(status, {})
            if schema is not None:
                schemas = kinds.setdefault(content_type, [])
                if schema not in schemas:
                    schemas.append(schema)
        return {
            str(status): {
                "description": _DESCRIPTIONS.get(status, "An answer of the provider's."),
                **({"content": {kind: {"schema": _any(of)} for kind, of in kinds.items()}} if kinds else {}),
            }
            for status, kinds in sorted(found.items())
        }

    def _body(self, route: Route) -> Json | None:
        if route.body is None or route.status in _BODILESS:
            return None
        if not route.content_type.endswith("json"):
            return {"type": "string"}
        return self._shape(route.body, route)

    def _shape(self, body: Any, route: Route) -> Json:
        return _shape(body, lambda field: self._field(field, route))

    def _field(self, field: Field, route: Route) -> Json:
        if field.subject or field.name not in ("item", "items"):
            return _field(field)
        shown = route.item
        if shown is None:
            shown = self._provider.collections[route.collection].item
        item = _shape(shown, _field)
        if route.collection in self._open:
            item = {"type": "object", "required": item.get("required", [])} if "properties" in item else {}
        return {"type": "array", "items": item} if field.name == "items" else item


def _page_parameters(route: Route) -> tuple[Parameter | None, ...]:
    return (route.page.at, route.page.size_at) if route.page is not None else ()


def _refusal(refusal: Refusal) -> tuple[int, str, Json | None]:
    return refusal.status, refusal.content_type, _content(refusal.status, refusal.content_type, refusal.body)


def _error(error: ErrorAnswer) -> tuple[int, str, Json | None]:
    return error.status, error.content_type, _content(error.status, error.content_type, error.body)


def _content(status: int, content_type: str, body: Any) -> Json | None:
    if body is None or status in _BODILESS:
        return None
    return _shape(body, _field) if content_type.endswith("json") else {"type": "string"}


def _any(schemas: list[Json]) -> Json:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


# ---- from a body with templates to a schema


def _shape(body: Any, field: Any) -> Json:
    """The JSON Schema of a body of the profile; `field` gives that of a template's only field."""
    if isinstance(body, Template):
        if len(body.parts) == 1 and body.fields and not body.fields[0].spec:
            shape: Json = field(body.fields[0])
            return shape
        return {"type": ["string", "null"]}
    if isinstance(body, Mapping):
        return {
            "type": "object",
            "properties": {key: _shape(value, field) for key, value in body.items()},
            "required": [key for key, value in body.items() if not _may_be_left_out(value)],
        }
    if isinstance(body, list):
        shapes: list[Json] = []
        for value in body:
            if (inner := _shape(value, field)) not in shapes:
                shapes.append(inner)
        return {"type": "array", "items": _any(shapes)} if shapes else {"type": "array"}
    if isinstance(body, bool):
        return {"type": "boolean"}
    if body is None:
        return {"type": "null"}
    return {"type": "integer" if isinstance(body, int) else "number" if isinstance(body, float) else "string"}


def _may_be_left_out(body: Any) -> bool:
    return isinstance(body, Template) and any(field.name in _OMITTED for field in body.fields)


def _field(field: Field) -> Json:
    """What stands for a field; any may be missing, and is null then."""
    name = field.name
    if name in _BOOLEANS:
        return {"type": "boolean"}
    if name in _WHOLE or (field.subject and name.endswith(("_s", "_ms", "percent", "_minutes"))):
        return {"type": ["number" if "decimal" in name else "integer", "null"]}
    if field.subject and (name == "rate" or "decimal" in name):
        return {"type": ["number", "null"]}
    return {"type": ["string", "null"]}


# ---- the authorization server's endpoints

_DESCRIPTIONS = {
    200: "The answer.",
    201: "It was created.",
    303: "The browser goes on elsewhere.",
    400: "Something is wrong with the request.",
    401: "The access token, or the client, is not valid.",
    403: "That is not allowed.",
    404: "There is no such thing.",
    405: "That method is not answered here.",
    413: "The request is too large.",
    429: "A limit refused the call.",
    500: "The provider failed.",
    502: "The provider failed.",
    503: "The provider is not available.",
}
_OAUTH_ERROR: Json = {  # RFC 6749, 5.2
    "type": "object",
    "properties": {
        "error": {"type": "string"},
        "error_description": {"type": "string"},
        "error_uri": {"type": "string"},
    },
    "required": ["error"],
}
_TOKEN: Json = {  # RFC 6749, 5.1
    "type": "object",
    "properties": {
        "access_token": {"type": "string"},
        "token_type": {"type": "string"},
        "expires_in": {"type": "integer"},
        "refresh_token": {"type": "string"},
        "scope": {"type": "string"},
    },
    "required": ["access_token", "token_type"],
}
_INTROSPECTION: Json = {  # RFC 7662, 2.2
    "type": "object",
    "properties": {"active": {"type": "boolean"}},
    "required": ["active"],
}
_EMPTY: tuple[str, Json] = ("text/plain", {"type": "string"})
_FORMS: dict[str, tuple[str, ...]] = {
    "token": ("grant_type", "code", "redirect_uri", "code_verifier", "refresh_token", "scope", "client_id",
              "client_secret"),
    "revoke": ("token", "token_type_hint", "client_id", "client_secret"),
    "introspect": ("token", "token_type_hint", "client_id", "client_secret"),
    "authorize": ("csrf", "decision", "username", "password", "scope"),
}  # fmt: skip
_QUERY = ("response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge",
          "code_challenge_method", "login_hint")  # fmt: skip


def _endpoint(path: str, kind: str, shapes: _Shapes) -> Json:
    """The Path Item Object of an endpoint."""
    refused = (405, *_EMPTY)
    if kind == "metadata":
        answers = [(200, _JSON, {"type": "object"}), refused]
        return {"get": {"operationId": _id("get", path), "responses": shapes.responses(answers)}}
    if kind == "authorize":
        # 303: RFC 9700, 4.12
        answers = [(status, _HTML, {"type": "string"}) for status in (200, 400, 401, 403)]
        answers += [(303, *_EMPTY), (302, *_EMPTY), refused]
        query = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in _QUERY]
        methods = ("post",) if path == SIGN_IN else ("get", "post")
        return {
            method: {
                "operationId": _id(method, path),
                "parameters": query,
                **(_form(kind) if method == "post" else {}),
                "responses": shapes.responses(answers),
            }
            for method in methods
        }
    given = {"token": _TOKEN, "introspect": _INTROSPECTION}.get(kind, {})
    failures = [(status, _JSON, _OAUTH_ERROR) for status in (400, 401, 403, 503)]
    given_as = [(200, _JSON, given), *([(200, *_EMPTY)] if kind == "revoke" else [])]
    responses = shapes.responses([*given_as, *failures, refused])
    return {"post": {"operationId": _id("post", path), **_form(kind), "responses": responses}}


def _form(kind: str) -> Json:
    fields = {name: {"type": "string"} for name in _FORMS[kind]}
    content = {"application/x-www-form-urlencoded": {"schema": {"type": "object", "properties": fields}}}
    return {"requestBody": {"content": content}}


def _id(method: str, path: str) -> str:
    return f"{method}-{path.strip('/').replace('/', '-').replace('.', '')}"
