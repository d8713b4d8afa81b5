"""What is on today: a small Flask app on requests-oauthlib."""

import os
import threading
import time

from flask import Flask, abort, jsonify, redirect, request, session, url_for
from requests_oauthlib import OAuth2Session

CLIENT_ID = os.environ.get("CLIENT_ID", "")
CLIENT_SECRET = os.environ.get("CLIENT_SECRET", "")
AUTHORIZATION_URL = os.environ.get("AUTHORIZATION_URL", "https://calendar.example/oauth/authorize")
TOKEN_URL = os.environ.get("TOKEN_URL", "https://calendar.example/oauth/token")
API_BASE = os.environ.get("API_BASE", "https://calendar.example/v1")
SCOPE = ["events.read"]

app = Flask(__name__)
app.secret_key = os.environ.get("SECRET_KEY", "only for development")

tokens = {}
users = iter(range(1, 1_000_000))
cache = {}


def provider(user):
    def keep(token):
        tokens[user] = token

    return OAuth2Session(
        CLIENT_ID,
        token=tokens[user],
        auto_refresh_url=TOKEN_URL,
        auto_refresh_kwargs={"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET},
        token_updater=keep,
    )


@app.get("/connect")
def connect():
    oauth = OAuth2Session(
        CLIENT_ID, redirect_uri=url_for("callback", _external=True), scope=SCOPE, pkce="S256"
    )
    address, session["state"] = oauth.authorization_url(AUTHORIZATION_URL)
    session["verifier"] = oauth._code_verifier
    return redirect(address)


@app.get("/oauth/callback")
def callback():
    oauth = OAuth2Session(
        CLIENT_ID, redirect_uri=url_for("callback", _external=True), state=session.get("state")
    )
    token = oauth.fetch_token(
        TOKEN_URL,
        client_secret=CLIENT_SECRET,
        authorization_response=request.url,
        code_verifier=session.pop("verifier", None),
    )
    session["user"] = next(users)
    tokens[session["user"]] = token
    return redirect(url_for("today"))


@app.get("/today")
def today():
    user = session.get("user")
    if user is None:
        abort(401)
    seen_at, events = cache.get(user, (0, None))
    if time.time() - seen_at > 1800:
        response = provider(user).get(f"{API_BASE}/events", timeout=15)
        if response.status_code == 429:
            abort(503)
        response.raise_for_status()
        events = response.json()
        cache[user] = (time.time(), events)
    return jsonify(events)


def forget_old():
    """Once an hour the cache is swept."""
    for user, (seen_at, _) in list(cache.items()):
        if time.time() - seen_at > 7200:
            del cache[user]
    sweep = threading.Timer(3600, forget_old)
    sweep.daemon = True
    sweep.start()


forget_old()
