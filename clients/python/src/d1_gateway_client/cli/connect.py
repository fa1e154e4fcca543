"""How a command reaches a gateway: the options for it, beside the client's own variables in the environment."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

__all__ = ["Address", "CaFile", "CertificateFile", "Connection", "KeyFile", "ServerName", "TokenFile"]

_PANEL = "Connection (else from the environment: D1_GATEWAY_CLIENT_ADDRESS ...)"

Address: TypeAlias = Annotated[
    str | None, typer.Option(help="The gateway's gRPC listener, host:port.", rich_help_panel=_PANEL)
]
CaFile: TypeAlias = Annotated[Path | None, typer.Option(help="Whom to trust, PEM.", rich_help_panel=_PANEL)]
CertificateFile: TypeAlias = Annotated[
    Path | None, typer.Option(help="The client certificate, PEM.", rich_help_panel=_PANEL)
]
KeyFile: TypeAlias = Annotated[Path | None, typer.Option(help="Its private key, PEM.", rich_help_panel=_PANEL)]
TokenFile: TypeAlias = Annotated[Path | None, typer.Option(help="A file with a bearer token.", rich_help_panel=_PANEL)]
ServerName: TypeAlias = Annotated[
    str | None,
    typer.Option(help="The name in the gateway's certificate, if not the address's.", rich_help_panel=_PANEL),
]


@dataclass(frozen=True, slots=True)
class Connection:
    """What the command line says of the connection; None where the environment decides."""

    address: str | None = None
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    token_file: Path | None = None
    server_name: str | None = None

    def environment(self) -> dict[str, str]:
        """Get the environment as the client reads it, with the command line's word in place of its own."""
        given = {name.upper(): str(value) for name, value in asdict(self).items() if value is not None}
        environment = {**os.environ, **{f"D1_GATEWAY_CLIENT_{name}": value for name, value in given.items()}}
        if self.token_file is not None:
            environment.pop("D1_GATEWAY_CLIENT_TOKEN", None)
        return environment
