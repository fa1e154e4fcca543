"""What ``d1-gateway sandbox`` prints: addresses, and commands to paste."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

from sandbox.playground.files import Playing

__all__ = ["text"]

_CLIENT: Final = "d1-gateway-client"
_WITHOUT_CLIENT: Final = f"""
{_CLIENT} is not installed here. Before its first release, build its
wheel (clients/python), and install that with the extra "cli".
"""

_COMMANDS: Final = f"""\
Watch what D1 notifies (in another terminal; leave it running):
  {_CLIENT} watch --from-start

Buy without a challenge; the answer says how it ended:
  curl -sS $D1_SANDBOX/purchases -d '{{"cardId":"card_1",
    "flow":"frictionless","wait_ms":20000}}'

Buy with an OTP that the issuer sends, and a consumer who types it:
  curl -sS $D1_SANDBOX/purchases -d '{{"cardId":"card_1",
    "flow":"sms-otp-issuer","approves":true,"wait_ms":20000}}'

Suspend the card, then resume it:
  echo '{{"card_id":"card_1","reason_code":"USER_DECISION"}}' |
    {_CLIENT} call CardService/SuspendCard --data -
  echo '{{"card_id":"card_1","reason_code":"USER_DECISION"}}' |
    {_CLIENT} call CardService/ResumeCard --data -

Answer D1's requests to deliver an OTP yourself, not the sandbox:
  curl -sS -X DELETE $D1_SANDBOX/handler/deliver_otp &&
    {_CLIENT} answer --kind deliver_otp
"""


def text(playing: Playing) -> str:
    """Return what to print once the sandbox runs."""
    sandbox, gateway = playing.sandbox, playing.gateway
    return f"""\
console             {sandbox.control_url}/
control API         {sandbox.control_url}/sandbox
gateway, gRPC       {gateway.grpc}
gateway, callbacks  {gateway.edge}
gateway, admin      {gateway.admin}
D1                  {sandbox.d1_url}
3-D Secure server   {sandbox.threeds_url}
folder              {_short(playing.folder)}
{"" if _has_client() else _WITHOUT_CLIENT}
In another terminal, first:
  source {shlex.quote(_short(playing.environment_file))}

{_COMMANDS}
Stop with Ctrl-C; the folder stays, and --fresh begins anew."""


def _short(path: Path) -> str:
    """Return a path from where the command was started, if it lies below."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _has_client() -> bool:
    return shutil.which(_CLIENT, path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}") is not None
