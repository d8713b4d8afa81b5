"""An ASGI app on an asyncio loop in the process, in virtual time."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

HEAD = """
from quotalab.clock.virtual import install
with install(1_767_571_200_000_000_000, 1) as virtual:
    import asyncio, gevent, httpx, time
    from contextvars import ContextVar
    from quotalab.hosting.asgi import AsgiHost
    who = ContextVar("who", default=None)
    said = []

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            assert (await receive())["type"] == "lifespan.startup"
            job = asyncio.create_task(tick())
            await send({"type": "lifespan.startup.complete"})
            assert (await receive())["type"] == "lifespan.shutdown"
            job.cancel()
            said.append("shut down")
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = (await receive())["body"]
        if scope["path"] == "/broken":
            raise KeyError("row")
        await asyncio.sleep(60)
        await send({"type": "http.response.start", "status": 201, "headers": [(b"x-who", str(who.get()).encode())]})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"!"})

    async def tick():
        while True:
            await asyncio.sleep(600)
            said.append(f"tick at {time.monotonic() - began:g}")

    began = time.monotonic()
"""


def ran(code: str) -> str:
    """What a snippet prints in a process of its own, in virtual time."""
    text = HEAD + "\n".join("    " + line for line in dedent(code).splitlines())
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout + done.stderr


def test_requests_tasks_and_lifespan_follow_virtual_time() -> None:
    """Two people's requests overlap, each in its own context; a job ticks meanwhile; errors and the end arrive."""
    out = ran("""
        host = AsgiHost(app, "x")
        with httpx.Client(transport=host, base_url="https://app.test") as client:
            def ask(name):
                who.set(name)
                answer = client.post("/", content=name)
                said.append((name, answer.status_code, answer.headers["x-who"], answer.text, time.monotonic() - began))
            gevent.joinall([gevent.spawn(ask, "a"), gevent.spawn(ask, "b")], raise_error=True)
            try:
                client.get("/broken")
            except KeyError as error:
                frame = error.__traceback__
                while frame.tb_next:
                    frame = frame.tb_next
                said.append(("raised", frame.tb_frame.f_code.co_name))
            gevent.sleep(1300)
        host.close()
        for line in said:
            print(line)
    """)
    assert out.splitlines() == [
        "('a', 201, 'a', 'a!', 60.0)",
        "('b', 201, 'b', 'b!', 60.0)",
        "('raised', 'app')",
        "tick at 600",
        "tick at 1200",
        "shut down",
    ]


def test_a_start_up_that_fails_is_told_and_no_lifespan_is_none() -> None:
    """By raising, by saying so; an app that knows only http is served."""
    out = ran("""
        async def raises(scope, receive, send):
            raise RuntimeError("no database")
        async def says(scope, receive, send):
            await send({"type": "lifespan.startup.failed", "message": "no cache"})
        async def plain(scope, receive, send):
            assert scope["type"] == "http"
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        for broken in (raises, says):
            try:
                AsgiHost(broken, "mine:app")
            except Exception as error:
                print(type(error).__name__, str(error).split(" (")[0])
        host = AsgiHost(plain, "x")
        print(host.handle_request(httpx.Request("GET", "https://app.test/")).status_code)
        host.close()
    """)
    assert out.splitlines() == [
        "ScenarioError app 'mine:app': its start-up raised RuntimeError: no database",
        "ScenarioError app 'mine:app': its start-up failed: no cache",
        "204",
    ]
