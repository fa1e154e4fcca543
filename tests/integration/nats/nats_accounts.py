"""Accounts and users of a NATS server, as its operator makes them (NATS ADR-14, "JWT library"; nkeys)."""

import base64
import binascii
import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["Account", "Operator"]

_OPERATOR, _ACCOUNT, _USER, _SEED = (number << 3 for number in (14, 0, 20, 18))
_ANY_NUMBER = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
_JETSTREAM = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)


class _Identity:
    def __init__(self, kind: int) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.name = _base32(bytes([kind]) + self.key.public_key().public_bytes_raw())
        self.seed = _base32(bytes([_SEED | kind >> 5, (kind & 0x1F) << 3]) + self.key.private_bytes_raw())

    def vouch(self, whom: "_Identity", claims: dict[str, object]) -> str:
        body = {"jti": whom.name, "iat": 1, "iss": self.name, "sub": whom.name, "name": "test"}
        parts = ({"typ": "JWT", "alg": "ed25519-nkey"}, body | {"nats": {"version": 2, **claims}})
        signed = ".".join(_base64(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{_base64(self.key.sign(signed.encode()))}"


class Account:
    """An account of a server, with its users."""

    def __init__(self, operator: _Identity, *, is_system: bool = False) -> None:
        self._identity = _Identity(_ACCOUNT)
        self.name = self._identity.name
        limits = {**_ANY_NUMBER, "wildcards": True, **({} if is_system else _JETSTREAM)}
        self.jwt = operator.vouch(self._identity, {"type": "account", "limits": limits})

    def write_user(self, path: Path) -> Path:
        """Create a user, and write its credentials."""
        user = _Identity(_USER)
        jwt = self._identity.vouch(user, {"type": "user", "subs": -1, "data": -1, "payload": -1})
        path.touch(mode=0o600)
        path.write_text(
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )
        return path


class Operator:
    """The operator of a server."""

    def __init__(self) -> None:
        self._identity = _Identity(_OPERATOR)
        self._system = Account(self._identity, is_system=True)
        self.account = Account(self._identity)

    @property
    def settings(self) -> str:
        """The lines for the server's configuration."""
        jwt = self._identity.vouch(self._identity, {"type": "operator"})
        preloaded = "\n".join(f'{each.name}: "{each.jwt}"' for each in (self._system, self.account))
        return (
            f'operator: "{jwt}"\nsystem_account: "{self._system.name}"\n'
            f"resolver: MEMORY\nresolver_preload {{\n{preloaded}\n}}"
        )


def _base32(content: bytes) -> str:
    return base64.b32encode(content + binascii.crc_hqx(content, 0).to_bytes(2, "little")).decode().rstrip("=")


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
