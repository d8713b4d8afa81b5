"""Published SDKs, unmodified, over loopback sockets: they sleep for hours through real refusals, in no time.

slack_sdk, spotipy, python-gitlab, dropbox and requests-oauthlib meet a sandbox in its provider's dialect.
botocore obeys no Retry-After and AWS is no OAuth provider: boto3 meets a plain stand-in and backs off by its
own rules. Their https hosts are led to loopback as each library allows.
"""

import sys
import tempfile
import time
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOURS = 3
WAIT_NS = HOURS * 3600 * 10**9
OURS = {"where": "a test", "confidence": "own"}
# One call in three hours. What the limits of the two are named after: docs.gitlab.com/security/rate_limits
# (429 with Retry-After in seconds), developers.dropbox.com/error-handling-guide (429, too_many_requests, with
# Retry-After in seconds). Their figures are not these: a test wants a long wait.
RARE = {"kind": "fixed_window", "limit": 1, "period": f"{HOURS}h", "align": "first_call", "source": OURS}
GITLAB = {
    "name": "gitlab-for-a-test",
    "api_path": "/api/v4",
    "limits": {"user": RARE},
    "routes": [
        {"name": "user", "path": "/user", "answer": "fixed", "body": {"id": 7, "username": "{person}"}}
    ],
}
DROPBOX = {
    "name": "dropbox-for-a-test",
    "api_path": "/2",
    "limits": {"user": RARE},
    "refusal": {
        "status": 429,
        "retry_after": "seconds",
        "body": {
            "error_summary": "too_many_requests/",
            "error": {"reason": {".tag": "too_many_requests"}, "retry_after": HOURS * 3600},
        },
    },
    "routes": [
        {
            "name": "usage",
            "method": "POST",
            "path": "/users/get_space_usage",
            "answer": "fixed",
            "body": {"used": 5, "allocation": {".tag": "individual", "allocated": 100}},
        }
    ],
}


def sandbox(profile="temporary-production", settings=(), laid=None, scope="events.read"):
    """The address of a sandbox of this process, and a person's access token."""
    sys.path.insert(0, str(ROOT / "tests" / "benchmarks"))
    from bench_calls import granted

    from quotalab.clock import SeededEntropy
    from quotalab.ledger import LedgerWriter
    from quotalab.profiles.provider import parse_provider
    from quotalab.sandbox import Sandbox
    from quotalab.sandbox.server import LoopbackServer

    clock = virtual.clock  # noqa: F821
    path = ROOT / "profiles" / "providers" / f"{profile}.toml"
    document = {**tomllib.loads(path.read_text(encoding="utf-8")), **(laid or {})}
    if laid:
        document.pop("reference", None)
    provider = parse_provider(
        document,
        path.name,
        settings=("oauth.access_token_lifetime=2d", "latency.median=0s", *settings),
    )
    server = LoopbackServer()
    served = Sandbox(
        provider,
        clock=clock,
        entropy=SeededEntropy(1),
        ledger=LedgerWriter(Path(tempfile.mkdtemp()), clock.monotonic_ns),
        people=["p00001"],
        issuer=server.address,
    )
    server.serve(served)
    return server.address, granted(served, clock, scope)


def refused_then_done(call):
    """Virtual nanoseconds that a call takes, at least, which the limit refuses at first."""
    before = time.monotonic_ns()
    call()
    return time.monotonic_ns() - before


@pytest.mark.virtual_time
def test_slack_sdk_sleeps_as_long_as_it_is_told():
    """Its RateLimitErrorRetryHandler posts the second message three hours after the first."""
    from slack_sdk import WebClient
    from slack_sdk.http_retry.builtin_handlers import RateLimitErrorRetryHandler

    settings = (f"limits.channel_messages.rate=1/{HOURS}h", "limits.channel_messages.capacity=1")
    address, token = sandbox("slack", settings, scope="chat:write")
    api = WebClient(token=token, base_url=f"{address}/api/", timeout=60)
    api.proxy = None
    api.retry_handlers.append(RateLimitErrorRetryHandler(max_retry_count=1))
    assert api.chat_postMessage(channel="C00000001", text="one")["ok"]
    assert refused_then_done(lambda: api.chat_postMessage(channel="C00000001", text="two")) >= WAIT_NS - 10**9
    api.chat_postMessage(channel="C00000001", text="three")


@pytest.mark.virtual_time
def test_spotipy_sleeps_as_long_as_it_is_told():
    """spotipy's urllib3 retries obey a Retry-After of hours."""
    import spotipy

    settings = (
        f"limits.half_minute.period={HOURS}h",
        "limits.half_minute.floor=1",
        "limits.half_minute.ceiling=1",
    )
    address, token = sandbox("spotify", settings, scope="playlist-read-private")
    api = spotipy.Spotify(auth=token, requests_timeout=60)
    api.prefix = f"{address}/v1/"
    assert api.me()["id"]
    assert refused_then_done(api.me) == pytest.approx(WAIT_NS, abs=2 * 10**9)


@pytest.mark.virtual_time
def test_python_gitlab_sleeps_as_long_as_it_is_told():
    """python-gitlab obeys the Retry-After of a 429."""
    import gitlab

    address, token = sandbox(laid=GITLAB)
    api = gitlab.Gitlab(address, oauth_token=token, timeout=60)
    api.session.trust_env = False
    api.auth()
    assert refused_then_done(api.auth) == pytest.approx(WAIT_NS, abs=2 * 10**9)
    assert api.user.username == "p00001"


@pytest.mark.virtual_time
def test_dropbox_sleeps_as_long_as_it_is_told():
    """dropbox backs off for the wait of a RateLimitError."""
    import dropbox
    import requests
    from requests.adapters import HTTPAdapter

    address, token = sandbox(laid=DROPBOX)

    class ToLoopback(HTTPAdapter):
        def send(self, request, **more):
            request.url = request.url.replace("https://api.dropboxapi.com", address)
            return super().send(request, **{**more, "verify": False, "proxies": {}})

    session = requests.Session()
    session.trust_env = False
    session.mount("https://", ToLoopback())
    api = dropbox.Dropbox(token, session=session, max_retries_on_error=0, max_retries_on_rate_limit=2)
    assert api.users_get_space_usage().used == 5
    assert refused_then_done(api.users_get_space_usage) == pytest.approx(WAIT_NS, abs=2 * 10**9)
    api.close()


@pytest.mark.virtual_time
def test_requests_oauthlib_sleeps_with_urllib3s_retries():
    """An OAuth2Session with urllib3's Retry mounted obeys a Retry-After of hours."""
    from requests.adapters import HTTPAdapter
    from requests_oauthlib import OAuth2Session
    from urllib3 import Retry

    address, token = sandbox(laid={"limits": {"hourly": RARE}})
    session = OAuth2Session(token={"access_token": token, "token_type": "Bearer"})
    session.trust_env = False
    session.mount("http://", HTTPAdapter(max_retries=Retry(2, status_forcelist=[429], retry_after_max=10**6)))

    def get():
        import os

        os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # as its documentation has it for loopback
        assert session.get(f"{address}/v1/events", timeout=60).status_code == 200

    get()
    assert refused_then_done(get) == pytest.approx(WAIT_NS, abs=2 * 10**9)


@pytest.mark.virtual_time
def test_boto3_backs_off_for_hours_by_its_own_rules():
    """botocore's legacy mode, its default, doubles its waits for DynamoDB until three hours are over."""
    import boto3
    from botocore.config import Config
    from gevent.pywsgi import WSGIServer

    until_ns = time.monotonic_ns() + WAIT_NS
    calls = []

    def dynamodb(environ, start_response):
        calls.append(time.monotonic_ns())
        environ["wsgi.input"].read()
        if calls[-1] < until_ns:  # docs.aws.amazon.com/amazondynamodb: Error handling
            body = b'{"__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException", "message": "Rate exceeded"}'
            status = "400 Bad Request"
        else:
            body, status = b'{"TableNames": ["people"]}', "200 OK"
        start_response(
            status, [("Content-Type", "application/x-amz-json-1.0"), ("Content-Length", str(len(body)))]
        )
        return [body]

    server = WSGIServer(("127.0.0.1", 0), dynamodb, log=None)
    server.start()
    api = boto3.client(
        "dynamodb",
        endpoint_url=f"http://127.0.0.1:{server.server_port}",
        region_name="eu-west-1",
        aws_access_key_id="an-id",
        aws_secret_access_key="a-secret",
        config=Config(retries={"mode": "legacy", "total_max_attempts": 30}, proxies={}),
    )
    took_ns = refused_then_done(lambda: api.list_tables()["TableNames"] == ["people"])
    assert took_ns >= WAIT_NS
    gaps = [later - earlier for earlier, later in pairwise(calls)]
    assert len(gaps) > 10
    assert max(gaps) > 3600 * 10**9
    server.stop()
