import asyncio
import base64
import hashlib
import logging
import secrets
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import httpx
from fastapi import Cookie, FastAPI, HTTPException, Request
from fastapi.responses import RedirectResponse

from calsync import config
from calsync.provider import GaveUp, Provider

log = logging.getLogger(__name__)

pending = {}  # state -> PKCE verifier
accounts = {}  # session -> tokens and the copy


@asynccontextmanager
async def lifespan(app):
    app.state.provider = Provider()
    job = asyncio.create_task(refresh_copies(app.state.provider))
    yield
    job.cancel()
    await app.state.provider.close()


app = FastAPI(lifespan=lifespan)


async def refresh_copies(provider):
    """Every few hours all copies are made anew."""
    while True:
        await asyncio.sleep(config.REFRESH_EVERY)
        for account in list(accounts.values()):
            try:
                account["copy"] = await provider.events(account)
            except (GaveUp, httpx.HTTPError):
                log.warning("a copy was not made")


@app.get("/login")
async def login(request: Request):
    state, verifier = secrets.token_urlsafe(24), secrets.token_urlsafe(48)
    pending[state] = verifier
    digest = hashlib.sha256(verifier.encode()).digest()
    query = {
        "response_type": "code",
        "client_id": config.CLIENT_ID,
        "redirect_uri": str(request.url_for("callback")),
        "scope": "events.read",
        "state": state,
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    return RedirectResponse(f"{config.AUTHORIZE_URL}?{urlencode(query)}")


@app.get("/auth/callback")
async def callback(request: Request, state: str, code: str | None = None, error: str | None = None):
    verifier = pending.pop(state, None)
    if verifier is None:
        raise HTTPException(400, "unknown state")
    if code is None:
        return RedirectResponse(f"/?refused={error}", 303)
    session = secrets.token_urlsafe(24)
    accounts[session] = await request.app.state.provider.exchange(
        code, verifier, str(request.url_for("callback"))
    )
    response = RedirectResponse("/", 303)
    response.set_cookie("session", session, httponly=True)
    return response


@app.get("/")
async def home(session: str | None = Cookie(None)):
    return {"connected": session in accounts}


def account_of(session):
    if session not in accounts:
        raise HTTPException(401, "connect first")
    return accounts[session]


@app.post("/sync")
async def sync(request: Request, session: str | None = Cookie(None)):
    account = account_of(session)
    try:
        account["copy"] = await request.app.state.provider.events(account)
    except GaveUp:
        raise HTTPException(503, "the calendar does not answer") from None
    return {"events": len(account["copy"]["items"]) if "items" in account["copy"] else len(account["copy"])}


@app.get("/week")
def week(session: str | None = Cookie(None)):
    return account_of(session).get("copy", {})
