"""The table of rpcs in docs/guarantees.md says what the contracts declare and what the gateway does."""

import re
from collections.abc import Iterator
from pathlib import Path

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from gateway.grpc_api.server import SERVICES
from tests.contract.d1_rpcs import D1_RPCS, THREEDS_RPCS

_PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"


def _repeat(method: MethodDescriptor) -> str:
    if method.client_streaming:
        return "registers again"
    if method.GetOptions().idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN:
        return "harmless"
    return "same `request_id`" if "request_id" in method.input_type.fields_by_name else "look first"


def _deadline(method: MethodDescriptor) -> str:
    if method.client_streaming or method.server_streaming:
        return "none"
    if method.name in D1_RPCS:
        return "yours or `d1.total_timeout_seconds`"
    return "yours or `threeds.total_timeout_seconds`" if method.name in THREEDS_RPCS else "yours"


def _rows() -> Iterator[str]:
    for name in SERVICES:
        service = descriptor_pool.Default().FindServiceByName(name)
        for method in service.methods:
            yield f"| `{service.name}/{method.name}` | {_repeat(method)} | {_deadline(method)} |"


def test_the_table_of_repeats_and_deadlines_has_every_rpc_as_the_contracts_declare_it() -> None:
    table = re.findall(r"(?m)^\| `\w+Service/\w+` .*$", _PAGE.read_text())
    assert table == list(_rows())
