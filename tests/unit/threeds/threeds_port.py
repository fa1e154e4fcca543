"""A `gateway.ports.ThreeDSServer` in memory, and a gRPC server before it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc

from gateway.auth.issuers import Issuers
from gateway.grpc_api.interceptors import (
    CorrelationInterceptor,
    ErrorInterceptor,
    IssuerInterceptor,
    ValidationInterceptor,
)
from gateway.grpc_api.interceptors.chain import Chain
from gateway.grpc_api.services.authentication import AuthenticationServicer, emv_violations
from gateway.ports import Call
from gateway.validation.validator import Validation
from issuer.threeds.v1 import areq_pb2, ares_pb2, crd_pb2, rreq_pb2, service_pb2_grpc

__all__ = ["ISSUER", "FakeThreeDSServer", "serving"]

ISSUER = "ISSUER0001"


@dataclass(slots=True)
class FakeThreeDSServer:
    """Replies as it is set to, and keeps what it received."""

    crd: crd_pb2.CRD | None = None
    ares: ares_pb2.ARes = field(default_factory=ares_pb2.ARes)
    rreq: rreq_pb2.RReq | None = None
    received: list[object] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    async def lookup(self, acct_number: str, ds: str, call: Call) -> crd_pb2.CRD | None:
        self._take((acct_number, ds), call)
        return self.crd

    async def authenticate(self, areq: areq_pb2.AReq, call: Call) -> ares_pb2.ARes:
        self._take(areq, call)
        return self.ares

    async def challenge_result(self, three_ds_server_trans_id: str, call: Call) -> rreq_pb2.RReq | None:
        self._take(three_ds_server_trans_id, call)
        return self.rreq

    def _take(self, sent: object, call: Call) -> None:
        self.received.append(sent)
        self.calls.append(call)


@asynccontextmanager
async def serving(fake: FakeThreeDSServer) -> AsyncIterator["service_pb2_grpc.AuthenticationServiceAsyncStub"]:
    """Serve AuthenticationService as the gateway does, and return the stub of a caller."""
    server = grpc.aio.server(
        interceptors=(
            Chain(
                CorrelationInterceptor(),
                ErrorInterceptor(),
                ValidationInterceptor(Validation(emv_violations)),
                IssuerInterceptor(Issuers([ISSUER])),
            ),
        )
    )
    service_pb2_grpc.add_AuthenticationServiceServicer_to_server(AuthenticationServicer(fake), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield service_pb2_grpc.AuthenticationServiceStub(channel)
    finally:
        await server.stop(None)
