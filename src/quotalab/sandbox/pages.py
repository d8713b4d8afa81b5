"""The two pages that a person sees at the provider: signing in, and giving or refusing consent.

They work without scripts, and everything that came from outside is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["consent_page", "error_page", "sign_in_page"]

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; min-height: 100vh; display: grid; place-items: center;
       background: light-dark(#eef1f5, #14171c); color: light-dark(#1b2330, #e6e9ee); }
main { background: light-dark(#fff, #1e232b); padding: 2rem; border-radius: 12px; width: min(26rem, 90vw);
       box-sizing: border-box; box-shadow: 0 1px 3px #0003, 0 8px 24px #0001; }
h1 { font-size: 1.25rem; margin: 0 0 .75rem; }
label { display: block; margin: .75rem 0 .25rem; }
input, button { font: inherit; padding: .5rem; border-radius: 6px; border: 1px solid; }
input { width: 100%; box-sizing: border-box; background: inherit; color: inherit;
        border-color: light-dark(#aab3c0, #4a5260); }
button { padding: .5rem 1.25rem; margin: 1.25rem .5rem 0 0; cursor: pointer;
         background: light-dark(#1f5fbf, #6aa5ff); color: light-dark(#fff, #10131a); }
button.quiet { background: none; color: inherit; border-color: light-dark(#aab3c0, #4a5260); }
.note { font-size: .875rem; color: light-dark(#5a6473, #9aa4b2); }
.wrong { color: light-dark(#b3261e, #ff8a80); }
"""


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>{body}</main></body></html>"
    )


def sign_in_page(provider: str, action: str, *, failed: bool = False) -> str:
    """The sign-in form; it posts `username` and `password` to `action`."""
    wrong = '<p class="wrong" role="alert">That name and password do not match.</p>' if failed else ""
    return _page(
        "Sign in",
        f"<h1>Sign in to {escape(provider)}</h1>{wrong}"
        f'<form method="post" action="{escape(action)}">'
        '<label for="username">Name</label>'
        '<input type="text" id="username" name="username" autocomplete="username" required>'
        '<label for="password">Password</label>'
        '<input type="password" id="password" name="password" autocomplete="current-password" required>'
        "<button>Sign in</button></form>"
        '<p class="note">A sandbox of quotalab: no real account is needed here.</p>',
    )


def consent_page(
    provider: str, client: str, person: str, scopes: Sequence[str], action: str, csrf: str
) -> str:
    """The consent form: who asks, for what, in the words of the profile; it posts `decision` and `csrf`."""
    listed = "".join(f"<li>{escape(scope)}</li>" for scope in scopes)
    asked = f"<p>It asks to:</p><ul>{listed}</ul>" if listed else ""
    return _page(
        "Allow access?",
        f"<h1>Allow {escape(client)} to use your {escape(provider)} account?</h1>"
        f'<p class="note">Signed in as {escape(person)}</p>{asked}'
        f'<form method="post" action="{escape(action)}">'
        f'<input type="hidden" name="csrf" value="{escape(csrf)}">'
        '<button name="decision" value="allow">Allow</button>'
        '<button class="quiet" name="decision" value="deny">Cancel</button></form>'
        '<p class="note">This app has not been reviewed yet.</p>',
    )


def error_page(message: str) -> str:
    """What a person is told when the app's request cannot be answered by a redirect."""
    return _page("Something is wrong", f"<h1>This request cannot be answered</h1><p>{escape(message)}</p>")
