"""A request with two responses: for a moment, two servers may both consider themselves the leader."""

import asyncio

from adapters.nats.connection.connection import Connection, Msg
from sandbox.nats import NatsServer
from tests.integration.nats.nats_storages import settings_for_nats


async def test_of_two_answers_the_first_one_counts(server: NatsServer) -> None:
    asking = await Connection.open(settings_for_nats(server))
    answering = await Connection.open(settings_for_nats(server))
    tasks: set[asyncio.Task[None]] = set()

    async def answer(asked: Msg) -> None:
        # They arrive together, before whoever asked comes round to look.
        for text in (b"first", b"second"):
            await answering.publish(asked.reply, text)

    def hear(asked: Msg) -> None:
        tasks.add(asyncio.create_task(answer(asked)))

    try:
        await answering.subscribe("twice", hear)
        # Another connection's subscription is known to the server once it has answered this one something.
        async with asyncio.timeout(10):
            await answering.request("twice")
            answers = await asyncio.gather(*(asking.request("twice") for _ in range(50)))
        assert [each.data for each in answers] == [b"first"] * 50
        await asyncio.gather(*tasks)
    finally:
        await asking.close()
        await answering.close()
