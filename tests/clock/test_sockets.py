"""Loopback sockets between greenlets of one process."""

import http.client
import socket
import time

import pytest


def _server():
    """A gevent web server that answers with as many bytes as it is asked for."""
    from gevent.pywsgi import WSGIServer

    def app(environ, start_response):
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body, b"x" * int(environ["QUERY_STRING"])]

    server = WSGIServer(("127.0.0.1", 0), app, log=None)
    server.start()
    return server


@pytest.mark.virtual_time
def test_requests_take_no_virtual_time():
    """Five clients send 200 requests, small and large, with timeouts of 1 s: all answered in no time."""
    import gevent

    server, waits = _server(), []

    def client(number):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=1)
        for size in (0, 100, 10_000, 300_000) * 10:
            gevent.sleep(0.1 + number / 10)
            before = time.monotonic_ns()
            connection.request("POST", f"/?{size}", body=b"y" * size)
            assert len(connection.getresponse().read()) == 2 * size
            waits.append(time.monotonic_ns() - before)
        connection.close()

    gevent.joinall([gevent.spawn(client, number) for number in range(5)], raise_error=True)
    server.stop()
    assert waits == [0] * 200


@pytest.mark.virtual_time
def test_httpx_requests_take_no_virtual_time():
    """So do 50 requests of httpx, each on a connection of its own."""
    import httpx

    server = _server()
    before = time.monotonic_ns()
    for _ in range(50):
        assert httpx.get(f"http://127.0.0.1:{server.server_port}/?9", timeout=1, verify=False).text == "x" * 9
    server.stop()
    assert time.monotonic_ns() == before


@pytest.mark.virtual_time
def test_every_tcp_socket_sends_at_once():
    """Nagle's algorithm is off on both ends of a connection; other sockets are left alone."""
    import gevent

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = gevent.spawn(listener.accept)
        with socket.create_connection(listener.getsockname()) as client, accepting.get()[0] as accepted:
            for end in (client, accepted):
                assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        assert udp.fileno() > 0


@pytest.mark.virtual_time
def test_the_other_end_sees_a_close_before_time_moves():
    """A connection closed at an instant ends its reader's wait at that instant, whatever timer is due next."""
    import gevent

    seen = []

    def read(end):
        with gevent.Timeout(1):
            assert end.recv(1) == b""
        seen.append(time.monotonic_ns() - before)

    for _ in range(20):
        mine, other = socket.socketpair()
        before = time.monotonic_ns()
        reader = gevent.spawn(read, other)
        gevent.spawn(mine.recv, 1)  # a socket that is waited on is closed later than asked
        gevent.sleep(0.5)
        mine.close()
        reader.get()
        other.close()
    assert seen == [500_000_000] * 20


@pytest.mark.virtual_time
def test_a_writer_is_not_waited_for_for_ever():
    """When a reader sleeps while more is written than sockets hold, time goes on and all of it arrives."""
    import gevent

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = gevent.spawn(listener.accept)
        client = socket.create_connection(listener.getsockname())
        accepted = accepting.get()[0]
    before = time.monotonic_ns()
    sending = gevent.spawn(lambda: (client.sendall(b"z" * 30_000_000), client.close()))
    gevent.sleep(3600)
    received = 0
    while chunk := accepted.recv(1_000_000):
        received += len(chunk)
    sending.get()
    accepted.close()
    assert received == 30_000_000
    assert time.monotonic_ns() - before == 3_600_000_000_000
    assert virtual.stats.unsent > 0  # noqa: F821


@pytest.mark.virtual_time
def test_many_connections_at_once_are_answered_at_once():
    """400 clients that connect and ask at one instant have their answers at that instant."""
    import gevent

    server, waits = _server(), []

    def client():
        time.sleep(1)
        before = time.monotonic_ns()
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=1)
        connection.request("POST", "/?1000", body=b"y" * 1000)
        assert len(connection.getresponse().read()) == 2000
        connection.close()
        waits.append(time.monotonic_ns() - before)

    gevent.joinall([gevent.spawn(client) for _ in range(400)], raise_error=True)
    server.stop()
    assert waits == [0] * 400


@pytest.mark.virtual_time
def test_a_slow_reader_takes_the_time_it_takes():
    """Who reads 50 kB a second has 5 MB after 100 s, and the writer is done when the rest fits the buffers."""
    import gevent

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = gevent.spawn(listener.accept)
        client = socket.create_connection(listener.getsockname(), timeout=3600)
        accepted = accepting.get()[0]
    before = time.monotonic_ns()
    sending = gevent.spawn(lambda: (client.sendall(b"z" * 5_000_000), client.close()))
    with accepted, accepted.makefile("rb") as reader:
        for _ in range(100):
            time.sleep(1)
            assert len(reader.read(50_000)) == 50_000
        assert reader.read() == b""
    sending.get()
    assert time.monotonic_ns() - before == 100_000_000_000
