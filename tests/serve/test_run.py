"""Where a server listens."""

from __future__ import annotations

import asyncio
import socket

import pytest

from penjing.errors import DataError
from penjing.serve.run import bound

pytestmark = pytest.mark.shop


def test_answers_of_two_packets_do_not_wait_for_the_first_to_be_acknowledged():
    async def answered() -> int:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            found.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        place = bound("127.0.0.1", 0)
        async with await asyncio.start_server(answer, sock=place):
            _, writer = await asyncio.open_connection(*place.getsockname())
            writer.close()
            return await found

    assert asyncio.run(answered()) == 1


def test_a_place_that_is_taken_is_told():
    with bound("127.0.0.1", 0) as place, pytest.raises(DataError, match="cannot listen on"):
        bound("127.0.0.1", place.getsockname()[1])
    assert place.fileno() == -1
