"""Whose a request over a socket is, told by who sends; in a process of its own, which gevent patches."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
from gevent import monkey
monkey.patch_all()
import gevent, socket, gevent._socket3
from quotalab.sandbox.app import SENDER
from quotalab.sandbox.server import LoopbackServer
from quotalab.sandbox.transport import current_operation

def names():
    return {name for name in ("send", "sendmsg") if name in vars(gevent._socket3.socket)}

before = names()
server = LoopbackServer()
server.note_senders()

def application(environ, start):
    environ["wsgi.input"].read()
    start("200 OK", [("Content-Length", "0")])
    heard.append(environ[SENDER]())
    return [b""]

heard = []
server.serve(application)
connection = socket.create_connection(("127.0.0.1", int(server.address.rpartition(":")[2])))

def send(operation, *data):
    current_operation.set(operation)
    for part in data:
        connection.sendall(part)

def answered():
    assert connection.recv(65536).startswith(b"HTTP/1.1 200")

HEAD = b"POST / HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 4\\r\\n\\r\\n"
send("a", HEAD, b"body"); answered()
send("b", HEAD, b"bo", b"dy"); answered()
send("b", HEAD + b"body"); answered()
send("a", HEAD); send("b", b"body"); answered()       # two have sent
send("a", HEAD); send(None, b"body"); answered()      # one of them has no operation
send(None, HEAD, b"body"); answered()
send("c", HEAD, b"", b"body"); send("d", b""); answered()  # who sends nothing does not count
connection.sendmsg([HEAD, b"body"]); answered()
there = gevent._socket3._socket.socket()              # as a client that is not in this process
there.connect(connection.getpeername())
there.setblocking(False)
there.send(HEAD + b"body")
while len(heard) < 9:
    gevent.sleep(0)
print(*heard)
server.stop()
assert names() == before, names()
"""


def test_a_request_is_its_senders() -> None:
    """Not the connector's; nobody's where several have sent, or somebody unknown has."""
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert ended.stderr == ""
    assert ended.stdout.split() == ["a", "b", "b", "None", "None", "None", "c", "d", "None"]
