"""The measured gateway: as in production, with bearer tokens for callers."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
from joserfc import jwt
from joserfc.jwk import ECKey

from sandbox.common.pki import Pki
from sandbox.gateway import GatewayConfig
from sandbox.sandbox import ISSUER_ID

__all__ = ["SUBJECT", "GatewayOfTokens", "Tokens"]

_ISSUER: Final = "https://login.bench.example"
_AUDIENCE: Final = "d1-gateway"
SUBJECT: Final = "bench"
"""The subject of the usual caller's token."""
_KID: Final = "bench-1"
_LIFE_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens' signer, and the tokens."""

    jwks_file: Path
    bearers: Mapping[str, str]
    """The token of each subject."""

    @classmethod
    def issue(cls, folder: Path, subjects: Sequence[str] = (SUBJECT,)) -> "Tokens":
        """Make a key and a token for each subject; the JWK set of the public key goes into a folder."""
        key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256", "kid": _KID})
        jwks_file = folder / "jwks.json"
        jwks_file.write_bytes(orjson.dumps({"keys": [key.as_dict(private=False)]}))
        now = int(time.time())
        header = {"alg": "ES256", "typ": "JWT", "kid": _KID}
        claims = {"iss": _ISSUER, "aud": _AUDIENCE, "iat": now, "exp": now + _LIFE_SECONDS}
        return cls(jwks_file, {subject: jwt.encode(header, {**claims, "sub": subject}, key) for subject in subjects})


@dataclass(frozen=True, slots=True)
class GatewayOfTokens(GatewayConfig):
    """Settings with bearer tokens instead of client certificates, which h2load cannot present."""

    jwks_file: Path = Path()
    has_tls: bool = True
    further_issuers: Sequence[str] = ()
    """Issuers who share the first one's keys."""

    @classmethod
    def make(
        cls, folder: Path, pki: Pki, upstream_ports: Sequence[int], jwks_file: Path, *, has_tls: bool
    ) -> "GatewayOfTokens":
        """Make the settings of a gateway with its files in a folder.

        Args:
            folder: The folder of its policy and event log.
            pki: The certificates.
            upstream_ports: The ports of the upstreams that stand for D1 and the 3-D Secure server.
            jwks_file: The keys of accepted tokens.
            has_tls: Whether it serves callers over TLS.
        """
        api_key, policy = folder / "threeds-api-key", folder / "policy.toml"
        api_key.touch(mode=0o600)
        api_key.write_text("bench-api-key")
        policy.write_text(f'[[callers]]\nidentity = "jwt:{SUBJECT}"\ngrants = [{{ rpcs = ["*"], issuers = ["*"] }}]\n')
        d1, threeds = upstream_ports
        return cls(
            ISSUER_ID,
            pki,
            f"https://127.0.0.1:{d1}",
            folder / "d1-gateway.db",
            policy,
            threeds_url=f"https://127.0.0.1:{threeds}",
            threeds_api_key_file=api_key,
            jwks_file=jwks_file,
            has_tls=has_tls,
        )

    def to_toml(self) -> str:
        """Return the settings as TOML."""
        # The table for gRPC is the first one.
        _, access, others = GatewayConfig.to_toml(self).partition("[access]")
        server = self.pki.grpc_server
        listener = (
            f'tls_certificate_file = "{server.certificate}"\ntls_key_file = "{server.key}"\n' if self.has_tls else ""
        )
        tokens = f'issuer = "{_ISSUER}"\naudience = "{_AUDIENCE}"\njwks_file = "{self.jwks_file}"\n'
        first = f"[[issuers.{self.issuer_id}."
        keys = others[others.index(first) :]
        further = "\n".join(keys.replace(first, f"[[issuers.{issuer_id}.") for issuer_id in self.further_issuers)
        return f"[grpc]\nport = 0\n{listener}\n{access}{others}\n{further}\n[access.tokens]\n{tokens}"
