"""What shells and programs read to use a sandbox: ``sandbox.env`` and ``sandbox.json``."""

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from sandbox.gateway import GatewayProcess
from sandbox.sandbox import Sandbox

__all__ = ["Playing"]


@dataclass(frozen=True, slots=True)
class Playing:
    """A sandbox with its gateway, in a folder."""

    folder: Path
    sandbox: Sandbox
    gateway: GatewayProcess

    @property
    def environment_file(self) -> Path:
        """The file to source."""
        return self.folder / "sandbox.env"

    def write_files(self) -> None:
        """Write both files."""
        _write(self.environment_file, self._shell().encode())
        _write(self.folder / "sandbox.json", orjson.dumps(self._facts(), option=orjson.OPT_INDENT_2))

    def _shell(self) -> str:
        pki = self.sandbox.pki
        variables = {
            "D1_SANDBOX": f"{self.sandbox.control_url}/sandbox",
            "D1_GATEWAY_CLIENT_ADDRESS": self.gateway.grpc,
            "D1_GATEWAY_CLIENT_CA_FILE": pki.server_ca,
            "D1_GATEWAY_CLIENT_CERTIFICATE_FILE": pki.caller.certificate,
            "D1_GATEWAY_CLIENT_KEY_FILE": pki.caller.key,
        }
        commands = shlex.quote(str(Path(sys.executable).parent))
        return "\n".join(
            [
                "# The sandbox's addresses and a caller's settings; to source. Written again at each start.",
                *(f"export {name}={shlex.quote(str(value))}" for name, value in variables.items()),
                "unset D1_GATEWAY_CLIENT_TOKEN D1_GATEWAY_CLIENT_TOKEN_FILE D1_GATEWAY_CLIENT_SERVER_NAME",
                f'case ":$PATH:" in *:{commands}:*) ;; *) export PATH={commands}:"$PATH" ;; esac',
                "",
            ]
        )

    def _facts(self) -> dict[str, Any]:
        sandbox, gateway, pki = self.sandbox, self.gateway, self.sandbox.pki
        files = {
            "server_ca": pki.server_ca,
            "caller_certificate": pki.caller.certificate,
            "caller_key": pki.caller.key,
            "d1_client_certificate": pki.d1_client.certificate,
            "d1_client_key": pki.d1_client.key,
            "threeds_api_key": self.folder / "threeds-api-key",
            "gateway_settings": self.folder / "d1-gateway.toml",
            "gateway_log": gateway.log,
        }
        return {
            "process_id": os.getpid(),
            "addresses": {
                "control": sandbox.control_url,
                "d1": sandbox.d1_url,
                "threeds": sandbox.threeds_url,
                "grpc": gateway.grpc,
                "edge": gateway.edge,
                "admin": gateway.admin,
            },
            "files": {name: str(file) for name, file in files.items()},
            "issuer_id": sandbox.issuer_id,
            "cards": [card.card_id for card in sandbox.store.cards()],
            "consumers": list(sandbox.store.consumer_ids()),
            "authenticators": list(sandbox.authenticators.all()),
        }


def _write(file: Path, content: bytes) -> None:
    # A reader sees the old file or the new one.
    new = file.with_name(f"{file.name}.new")
    new.write_bytes(content)
    new.replace(file)
