"""A selector's owner that is busy elsewhere keeps no time from passing."""

import select
import socket
import time

import pytest


@pytest.mark.virtual_time
def test_an_asyncio_loop_may_sleep_and_poll_while_an_answer_lies_there():
    """Code in a loop blocks for a minute and polls beside a readable socket; then it reads what came."""
    import asyncio

    async def main():
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        waiting = loop.create_task(loop.sock_recv(ours, 10))
        await asyncio.sleep(0)
        theirs.sendall(b"here")
        other, silent = socket.socketpair()
        poll = select.poll()
        poll.register(other, select.POLLIN)
        before = time.monotonic()
        time.sleep(60)
        assert poll.poll(0) == []
        assert time.monotonic() - before == 60.0
        assert await waiting == b"here"
        for one in (ours, theirs, other, silent):
            one.close()

    asyncio.run(main())
