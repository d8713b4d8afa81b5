"""The pages that a person sees at the provider: signing in, giving or refusing consent, withdrawing it.

They work without scripts, and everything that came from outside is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

__all__ = [
    "AskedScope",
    "Connection",
    "connections_page",
    "consent_page",
    "error_page",
    "sign_in_page",
]

_STYLE = """
:root { color-scheme: light dark; --page: #eef1f5; --card: #fff; --text: #1b2330; --soft: #566072;
  --line: #d6dce5; --field: #8b95a5; --main: #1f5fbf; --on-main: #fff; --wrong: #b3261e;
  --warn: #fff4d6; --warn-line: #e2b33c; --warn-text: #5c4300; }
@media (prefers-color-scheme: dark) { :root { --page: #14171c; --card: #1e232b; --text: #e6e9ee;
  --soft: #a3adbb; --line: #343c48; --field: #6b7585; --main: #7ab0ff; --on-main: #0d1420; --wrong: #ff8a80;
  --warn: #3a2f12; --warn-line: #8a6d1f; --warn-text: #f4dc9a; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; margin: 0; padding: 1rem;
  min-height: 100vh; display: grid; place-items: center; background: var(--page); color: var(--text); }
main { background: var(--card); padding: 2rem; border-radius: 14px; width: 100%; max-width: 27rem;
  box-shadow: 0 1px 3px #0002, 0 10px 30px #0001; overflow-wrap: anywhere; }
@media (max-width: 30rem) { body { padding: 0; place-items: stretch; background: var(--card); }
  main { box-shadow: none; border-radius: 0; padding: 1.5rem 1.25rem; max-width: none; } }
h1 { font-size: 1.35rem; line-height: 1.3; margin: 0 0 .5rem; }
h2 { font-size: 1rem; margin: 1.25rem 0 .25rem; }
.app + .app { margin-top: 2rem; }
.app .choices { margin-top: .75rem; }
p { margin: .5rem 0; }
.from { color: var(--soft); font-size: .875rem; margin: 0 0 1.25rem; letter-spacing: .01em; }
.note { color: var(--soft); font-size: .875rem; }
.end { border-top: 1px solid var(--line); margin: 1.5rem 0 0; padding-top: 1rem; }
.wrong { color: var(--wrong); }
.warning { background: var(--warn); border: 1px solid var(--warn-line); color: var(--warn-text);
  border-radius: 8px; padding: .6rem .8rem; margin: 1rem 0; font-size: .9375rem; }
label { display: block; margin: .9rem 0 .25rem; }
input, button { font: inherit; border-radius: 8px; border: 1px solid var(--field); }
input[type=text], input[type=password] { width: 100%; padding: .55rem .7rem; background: var(--card);
  color: inherit; }
ul { list-style: none; margin: .5rem 0 0; padding: 0; border: 1px solid var(--line); border-radius: 10px; }
li { padding: .65rem .8rem; }
li + li { border-top: 1px solid var(--line); }
li label { margin: 0; display: flex; gap: .7rem; align-items: baseline; cursor: pointer; }
li input { accent-color: var(--main); width: 1.05rem; height: 1.05rem; flex: none; margin: 0;
  position: relative; top: .15rem; }
.mark { display: inline-block; font-size: .75rem; line-height: 1.4; background: var(--warn);
  color: var(--warn-text); border: 1px solid var(--warn-line); border-radius: 99px; padding: 0 .5rem;
  margin-left: .35rem; white-space: nowrap; }
.choices { display: flex; gap: .75rem; margin-top: 1.5rem; }
button { flex: 1; padding: .6rem 1.25rem; cursor: pointer; background: var(--main); color: var(--on-main);
  border-color: var(--main); font-weight: 600; }
button.quiet { background: none; color: inherit; border-color: var(--field); font-weight: 500; }
button:focus-visible, input:focus-visible { outline: 3px solid var(--main); outline-offset: 2px; }
"""


class AskedScope(NamedTuple):
    """A scope that an app asks for: its name, the profile's words for it, whether it needs a review."""

    name: str
    words: str
    restricted: bool


class Connection(NamedTuple):
    """An app that has a person's consent, and what it may do in the profile's words."""

    client_id: str
    words: Sequence[str]


def _page(title: str, body: str, provider: str = "") -> str:
    whose = f'<p class="from">{escape(provider)}</p>' if provider else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{whose}{body}</main></body></html>"
    )


def _form(action: str, csrf: str, fields: str) -> str:
    hidden = f'<input type="hidden" name="csrf" value="{escape(csrf)}">' if csrf else ""
    return f'<form method="post" action="{escape(action)}">{hidden}{fields}</form>'


_SANDBOX = '<p class="note end">A sandbox of quotalab: no real account is needed here.</p>'


def sign_in_page(provider: str, action: str, *, failed: bool = False) -> str:
    """The sign-in form; it posts `username` and `password` to `action`."""
    wrong = '<p class="wrong" role="alert">That name and password do not match.</p>' if failed else ""
    fields = (
        '<label for="username">Name</label>'
        '<input type="text" id="username" name="username" autocomplete="username" required autofocus>'
        '<label for="password">Password</label>'
        '<input type="password" id="password" name="password" autocomplete="current-password" required>'
        '<div class="choices"><button>Sign in</button></div>'
    )
    return _page(
        "Sign in", f"<h1>Sign in to {escape(provider)}</h1>{wrong}{_form(action, '', fields)}{_SANDBOX}"
    )


def consent_page(
    provider: str,
    client: str,
    person: str,
    scopes: Sequence[AskedScope],
    action: str,
    csrf: str,
    *,
    untick: bool,
    unverified: bool,
) -> str:
    """The consent form: who asks, for what, in the words of the profile.

    It posts `decision` and `csrf`, and each `scope` that is left ticked where single ones may be unticked.
    """
    warning = ""
    if unverified:
        warning = (
            '<p class="warning" role="note"><strong>This app has not been reviewed.</strong> '
            "Nobody here has looked at who made it, or at what it does with your data. "
            "Go on only if you trust its makers.</p>"
        )
    listed = "".join(f"<li>{_scope(scope, untick=untick)}</li>" for scope in scopes)
    asked = f"<h2>It asks to:</h2><ul>{listed}</ul>" if listed else ""
    if untick and listed:
        asked += '<p class="note">Untick what you do not want to allow.</p>'
    if any(scope.restricted for scope in scopes):
        asked += '<p class="note">Restricted: the app still needs a review of its own for that.</p>'
    buttons = (
        '<div class="choices"><button name="decision" value="allow">Allow</button>'
        '<button class="quiet" name="decision" value="deny">Cancel</button></div>'
    )
    return _page(
        "Allow access?",
        f"<h1>Allow {escape(client)} to use your account?</h1>"
        f'<p class="note">Signed in as {escape(person)}</p>{warning}'
        f"{_form(action, csrf, asked + buttons)}"
        '<p class="note end">You can take this back at any time under your connected apps. '
        "A sandbox of quotalab: no real account is touched.</p>",
        provider,
    )


def _scope(scope: AskedScope, *, untick: bool) -> str:
    words = escape(scope.words)
    if scope.restricted:
        words += '<span class="mark">restricted</span>'
    if not untick:
        return words
    return (
        f'<label><input type="checkbox" name="scope" value="{escape(scope.name)}" checked>'
        f"<span>{words}</span></label>"
    )


def connections_page(
    provider: str, person: str, connections: Sequence[Connection], action: str, csrf: str
) -> str:
    """The apps that have the person's consent, each with a form that posts its `client` and `csrf`."""
    apps = "".join(_connection(connection, action, csrf) for connection in connections)
    if not connections:
        apps = "<p>No app has your consent.</p>"
    return _page(
        "Connected apps",
        f'<h1>Your connected apps</h1><p class="note">Signed in as {escape(person)}</p>{apps}{_SANDBOX}',
        provider,
    )


def _connection(connection: Connection, action: str, csrf: str) -> str:
    listed = "".join(f"<li>{escape(words)}</li>" for words in connection.words)
    may = f"<p>It may:</p><ul>{listed}</ul>" if listed else ""
    button = (
        f'<input type="hidden" name="client" value="{escape(connection.client_id)}">'
        '<div class="choices"><button class="quiet">Remove access</button></div>'
    )
    form = _form(action, csrf, button)
    return f'<section class="app"><h2>{escape(connection.client_id)}</h2>{may}{form}</section>'


def error_page(message: str) -> str:
    """What a person is told when the app's request cannot be answered by a redirect."""
    return _page("Something is wrong", f"<h1>This request cannot be answered</h1><p>{escape(message)}</p>")
