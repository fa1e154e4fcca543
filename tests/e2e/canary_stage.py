"""A sandbox and a gateway process with full logs and traces, and canaries for every secret."""

import time
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import orjson
from joserfc import jwe, jwt
from joserfc.jwk import ECKey, KeySet

from sandbox import Sandbox
from sandbox.common.pki import Pki
from sandbox.d1.callbacks.edge_client import EdgeCredentials
from sandbox.d1.model.notification import Notification
from sandbox.gateway import GatewayConfig, GatewayProcess
from tests.e2e.canary_edge import Edge
from tests.e2e.canary_media import Evidence, Medium
from tests.e2e.canary_requests import APP, CARD, LEAVING, OPERATION
from tests.e2e.canary_rpcs import Caller
from tests.e2e.canary_values import Canaries
from tests.e2e.locked_keys import locked, written
from tests.running import edge_session

__all__ = ["Stage", "staged"]

_SUBJECT: Final = "canary-caller"
_LOGIN: Final = "https://login.bank.example"
_DATABASE: Final = "gateway.db"
_KEY_FILE: Final = f"{_DATABASE}.key"


@dataclass(frozen=True, slots=True)
class Stage:
    """All participants."""

    sandbox: Sandbox
    gateway: GatewayProcess
    caller: Caller
    stranger: Caller
    """A caller with an invalid token."""
    edge: Edge
    evidence: Evidence


@asynccontextmanager
async def staged(folder: Path, evidence: Evidence) -> AsyncIterator[Stage]:
    """Run all participants for the duration of the block, and collect what is visible then and afterwards."""
    data, canaries = folder / "data", evidence.canaries
    data.mkdir()
    (data / "audit").mkdir()
    agreed = EdgeCredentials("d1-client", canaries["client secret"])
    async with Sandbox.start(folder / "keys", edge_credentials=agreed) as sandbox:
        sandbox.store.add_consumer(LEAVING)
        sandbox.authenticators.enrol(LEAVING, APP)
        sandbox.history.add(Notification(CARD, OPERATION, datetime.now(UTC)))
        config = _configured(sandbox, folder, agreed, data / _DATABASE, canaries)
        token, wrong = _caller_token(folder, canaries), canaries["wrong bearer token"]
        async with (
            await GatewayProcess.start(config, folder) as gateway,
            edge_session(sandbox) as session,
            Caller.connect(gateway.grpc, sandbox.pki, token, evidence) as caller,
            Caller.connect(gateway.grpc, sandbox.pki, wrong, evidence) as stranger,
        ):
            canaries.add("key of idempotency records", (data / _KEY_FILE).read_text().strip())
            edge = Edge(session, gateway.edge, agreed, evidence)
            yield Stage(sandbox, gateway, caller, stranger, edge, evidence)
            for given in sandbox.tokens._issued:
                canaries.add(f"token of D1, {given[:6]}", given)
            await evidence.add_admin(gateway.admin)
            evidence.add_files(data, but=_KEY_FILE)
        evidence.add(Medium.LOG, "log", gateway.log.read_bytes())
        evidence.add_files(data, but=_KEY_FILE)


def _configured(
    sandbox: Sandbox, folder: Path, agreed: EdgeCredentials, event_log: Path, canaries: Canaries
) -> GatewayConfig:
    canaries.add("API key", sandbox.threeds_api_key)
    for name, value in _private_numbers(sandbox.pki):
        canaries.add(name, value)
    canaries.add("JWE of a caller", _encrypted(sandbox.pki, canaries["PAN in a JWE"]))
    config = GatewayConfig.of(sandbox, folder, oauth=agreed)
    with config.policy.open("a") as policy:
        policy.write(f'[[callers]]\nidentity = "jwt:{_SUBJECT}"\ngrants = [{{ rpcs = ["*"], issuers = ["*"] }}]\n')
    passphrase = canaries["passphrase"].encode()
    passphrase_file = written(folder / "passphrase", passphrase)
    # Everything is logged, no circuit breaker blocks calls to the upstreams, and all credentials are used.
    upstream = {"circuit_failures": 1_000_000, "max_attempts": 2}
    more: Mapping[str, Mapping[str, object]] = {
        "d1": upstream,
        "threeds": upstream,
        "edge.oauth": {"signing_key_passphrase_file": passphrase_file},
        "access.tokens": {"issuer": _LOGIN, "jwks_file": folder / "callers.jwks.json"},
        "log": {"level": "debug"},
        "audit": {"folder": event_log.with_name("audit")},
    }
    pki = replace(sandbox.pki, edge_token_key=locked(sandbox.pki.edge_token_key, passphrase))
    return replace(config, event_log=event_log, pki=pki, more=more)


def _caller_token(folder: Path, canaries: Canaries) -> str:
    """Return an internal service's token, and give the gateway the signer's key."""
    key = ECKey.generate_key("P-256", {"kid": "callers-1", "use": "sig"})
    (folder / "callers.jwks.json").write_bytes(orjson.dumps(KeySet([key]).as_dict(private=False)))
    claims = {"iss": _LOGIN, "aud": "d1-gateway", "sub": _SUBJECT, "exp": int(time.time()) + 600}
    token = jwt.encode(
        {"alg": "ES256", "kid": "callers-1"}, {**claims, "name": canaries["last name"]}, key, algorithms=["ES256"]
    )
    return canaries.add("token of the caller", token)


def _encrypted(pki: Pki, pan: str) -> str:
    """Encrypt card data for D1, as an issuer does that keeps them from the gateway."""
    key = ECKey.import_key(orjson.loads(pki.encryption_public_key.read_bytes()))
    header = {"alg": "ECDH-ES", "enc": "A256GCM", "kid": key.kid}
    return jwe.encrypt_compact(
        header, orjson.dumps({"pan": pan, "exp": "1129"}), key, algorithms=["ECDH-ES", "A256GCM"]
    )


def _private_numbers(pki: Pki) -> Iterator[tuple[str, str]]:
    """Return the secret number of each of the gateway's private keys: as in a JWK, and in hexadecimal."""
    identities = (pki.grpc_server, pki.edge_server, pki.gateway_client)
    for key in (*(each.key for each in identities), pki.assertion_key, pki.edge_token_key):
        content = key.read_bytes()
        jwk = ECKey.import_key(orjson.loads(content) if key.suffix == ".json" else content).as_dict(private=True)
        number = str(jwk["d"])
        yield f"private key {key.name}, d", number
        yield f"private key {key.name}, in hex", urlsafe_b64decode(number + "==").hex()
