"""A server with everything around its rpcs that the gateway has, over mutual TLS."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography.x509.oid import ExtendedKeyUsageOID
from grpc_reflection.v1alpha import reflection

from gateway.auth import grant
from gateway.auth.caller import Callers
from gateway.auth.issuers import Issuers
from gateway.auth.jwks import Jwks
from gateway.auth.jwks_sources import FileSource
from gateway.auth.jwt import TokenVerifier
from gateway.auth.policy import Vocabulary, rpcs_of
from gateway.auth.policy_file import PolicyFile
from gateway.grpc_api.interceptors import CorrelationInterceptor, ErrorInterceptor, ValidationInterceptor
from gateway.grpc_api.interceptors.access import AccessInterceptor, IssuerInterceptor
from gateway.grpc_api.interceptors.chain import Chain, Context
from gateway.validation.validator import Validation
from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1 import service_pb2 as card_service
from issuer.card.v1 import service_pb2_grpc as card_grpc
from tests.unit.auth.auth_pki import LOOPBACK, SPIFFE, Authority, Pair, uri
from tests.unit.auth.auth_tokens import ALGORITHMS, AUDIENCE, EC, ISSUER, jwk, jwk_set

__all__ = ["CARD_SERVICE", "CLIENTS", "ONE", "POLICY", "VOCABULARY", "Cards", "Served", "serving"]

ONE, TWO = "ISSUER0001", "ISSUER0002"
POLICY = f"""
[[callers]]
identity = "{SPIFFE}"
grants = [
    {{ rpcs = ["issuer.card.v1.CardService/ResumeCard"], issuers = ["{ONE}"] }},
]
[[callers]]
identity = "jwt:card-service"
grants = [{{ rpcs = ["issuer.card.v1.CardService/*"], issuers = ["*"] }}]
[[callers]]
identity = "spiffe://bank/ops/*"
grants = [{{ rpcs = ["grpc.reflection.v1alpha.ServerReflection/*"], issuers = ["*"] }}]
"""
VOCABULARY = Vocabulary(
    rpcs_of([card_service.DESCRIPTOR.services_by_name["CardService"].full_name, reflection.SERVICE_NAME]), (ONE, TWO)
)
CLIENTS, SERVERS = Authority("Clients"), Authority("Servers")
SERVER = SERVERS.issue(LOOPBACK, usage=ExtendedKeyUsageOID.SERVER_AUTH)
CARD_SERVICE = CLIENTS.issue([uri(SPIFFE)])


class Cards(card_grpc.CardServiceServicer):
    def __init__(self) -> None:
        self.grants: list[grant.Grant | None] = []

    async def ResumeCard(self, request: card.ResumeCardRequest, _: Context) -> card.ResumeCardResponse:  # noqa: ARG002, N802
        self.grants.append(grant.current())
        return card.ResumeCardResponse()

    async def DeleteCard(self, request: card.DeleteCardRequest, _: Context) -> card.DeleteCardResponse:  # noqa: ARG002, N802
        return card.DeleteCardResponse()


@dataclass(slots=True)
class Served:
    """A server with everything around its rpcs that the gateway has, over mutual TLS."""

    cards: Cards
    port: int
    policy_file: Path
    jwks_file: Path

    @asynccontextmanager
    async def channel(self, pair: Pair | None = CARD_SERVICE) -> AsyncIterator[grpc.aio.Channel]:
        key, certificate = (None, None) if pair is None else (pair.key, pair.certificate)
        credentials = grpc.ssl_channel_credentials(SERVERS.certificate, key, certificate)
        # The retries of a handshake that fails would outlast the test.
        options = [("grpc.initial_reconnect_backoff_ms", 20_000), ("grpc.enable_retries", 0)]
        async with grpc.aio.secure_channel(f"127.0.0.1:{self.port}", credentials, options) as channel:
            yield channel


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Served]:
    policy_file, jwks_file = folder / "policy.toml", folder / "jwks.json"
    policy_file.write_text(POLICY)
    jwks_file.write_bytes(jwk_set(jwk(EC)))
    policy = PolicyFile(policy_file, VOCABULARY)
    keys = Jwks(FileSource(jwks_file), ALGORITHMS)
    callers = Callers(TokenVerifier(keys, issuer=ISSUER, audience=AUDIENCE, leeway_seconds=30))
    server = grpc.aio.server(
        interceptors=(
            Chain(
                CorrelationInterceptor(),
                ErrorInterceptor(),
                AccessInterceptor(callers, policy),
                ValidationInterceptor(Validation()),
                IssuerInterceptor(Issuers([ONE, TWO])),
            ),
        )
    )
    cards = Cards()  # type: ignore[abstract] # the other rpcs answer UNIMPLEMENTED
    card_grpc.add_CardServiceServicer_to_server(cards, server)
    reflection.enable_server_reflection([reflection.SERVICE_NAME], server)
    credentials = grpc.ssl_server_credentials(
        [(SERVER.key, SERVER.certificate)], root_certificates=CLIENTS.certificate, require_client_auth=True
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(keys.kept_fresh(0.05))
        await stack.enter_async_context(policy.followed(0.05))
        await server.start()
        stack.push_async_callback(server.stop, None)
        yield Served(cards, port, policy_file, jwks_file)
