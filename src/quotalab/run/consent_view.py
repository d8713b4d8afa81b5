"""What a person sees when the app asks for consent: the sandbox's page, and a picture of it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from quotalab.profiles.provider import Provider
from quotalab.sandbox.pages import AskedScope, consent_page

__all__ = ["consent_view"]

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-default-apps", "--disable-extensions", "--force-device-scale-factor=1"),
    "--host-resolver-rules=MAP * ~NOTFOUND",  # nothing is fetched
)
_LONGEST_S = 60


def consent_view(provider: Provider, client: str, scopes: Sequence[str]) -> dict[str, bytes]:
    """``consent.html``, and ``consent.png`` where there is a Chromium that draws it."""
    asked = [
        AskedScope(scope, provider.scopes.get(scope, scope), scope in provider.test_phase.restricted_scopes)
        for scope in scopes
    ]
    page = consent_page(
        provider.title,
        client,
        "a test person",
        asked,
        "",
        "",
        untick=provider.oauth.untick,
        unverified=provider.test_phase.unverified,
    )
    files = {"consent.html": page.encode()}
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    picture = None if program is None else _picture(program, page)
    if picture is not None:
        files["consent.png"] = picture
    return files


def _picture(program: str, page: str) -> bytes | None:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "consent.html", Path(folder) / "consent.png"
        source.write_text(page, encoding="utf-8")
        command = [program, *_FLAGS, f"--user-data-dir={folder}/profile", "--window-size=720,760"]
        try:
            subprocess.run(  # noqa: S603 - a fixed program and our own page
                [*command, f"--screenshot={target}", source.as_uri()],
                timeout=_LONGEST_S,
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            return target.read_bytes()
        except (OSError, subprocess.SubprocessError):
            return None
