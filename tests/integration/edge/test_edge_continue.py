"""Clients that wait for `100 Continue` before they send a body, and those that ask for another protocol."""

import json

import pytest

from tests.integration.edge.edge_caller import EdgeCaller, event

_BODY = json.dumps(event()).encode()


@pytest.mark.parametrize("expectation", ["100-continue", "100-Continue", "x, 100-continue"])
async def test_100_continue_is_sent_once_and_the_connection_stays(caller: EdgeCaller, expectation: str) -> None:
    async with caller.connection() as (reader, writer):
        for operation in ("op_1", "op_2"):
            body = json.dumps(event(operationId=operation)).encode()
            writer.write(caller.raw(b"", f"Content-Length: {len(body)}", f"Expect: {expectation}"))
            assert (await caller.read(reader)).status == 100
            writer.write(body)
            response = await caller.read(reader)
            assert response.status == 204
            assert "connection" not in response.headers
    assert await caller.stored_operations() == ["op_1", "op_2"]


async def test_a_client_that_expects_100_continue_gets_an_error_instead_of_it(guarded_caller: EdgeCaller) -> None:
    async with guarded_caller.connection() as (reader, writer):
        writer.write(guarded_caller.raw(b"", f"Content-Length: {len(_BODY)}", "Expect: 100-continue"))
        response = await guarded_caller.read(reader)
        response.error(401)
        # The body may follow or not: the next bytes are ambiguous.
        assert response.headers["connection"] == "close"
        writer.write(_BODY)
        assert await reader.read() == b""
    assert await guarded_caller.stored() == []


async def test_a_client_that_does_not_wait_needs_no_100_continue(caller: EdgeCaller) -> None:
    async with caller.connection() as (reader, writer):
        writer.write(caller.raw(_BODY, "Expect: 100-continue"))
        assert (await caller.read(reader)).status == 204


async def test_a_protocol_upgrade_gets_a_response_in_this_protocol_and_ends_the_connection(caller: EdgeCaller) -> None:
    async with caller.connection() as (reader, writer):
        writer.write(caller.raw(_BODY, "Connection: Upgrade", "Upgrade: h2c"))
        response = await caller.read(reader)
        assert (response.status, response.headers["connection"]) == (204, "close")
        assert await reader.read() == b""
