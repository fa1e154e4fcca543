"""The dependencies of the client's command line."""

import subprocess
import sys

import pytest
from google.protobuf.json_format import MessageToJson

from d1_gateway_client.cli.descriptors import as_client_message, methods, to_json
from issuer.card.v1 import service_pb2 as card
from issuer.consumer.v1 import service_pb2 as consumer
from issuer.notification.v1 import messages_pb2
from issuer.notification.v1 import service_pb2 as notification
from issuer.threeds.v1 import operation_pb2
from issuer.threeds.v1 import service_pb2 as threeds

_USED = """
import sys
from d1_gateway_client.cli.app import app
from d1_gateway_client.cli.request_json import parse
from d1_gateway_client.cli.rpc_names import find
parse(b'{"cardId": "card-1"}', find("CardService/SuspendCard").method.input_type)
app(["watch", "--help"], standalone_mode=False)
sys.stderr.write("\\n".join(sorted(sys.modules)))
"""
_WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None
from d1_gateway_client.cli import main
for arguments in (["watch", "--from-start"], ["call", "CardService/CreateCard"], ["--help"]):
    sys.argv[1:] = arguments
    try:
        main()
    except SystemExit as end:
        sys.stdout.write(str(end.code))
"""


def _run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 (this very interpreter)
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )


def test_the_command_line_imports_nothing_of_the_gateway() -> None:
    ran = _run(_USED)

    assert ran.returncode == 0, ran.stderr
    imported = {name.partition(".")[0] for name in ran.stderr.splitlines()}
    assert {"d1_gateway_client", "typer"} <= imported
    assert imported.isdisjoint({"gateway", "adapters", "sandbox", "issuer"})


@pytest.mark.parametrize("missing", ["typer", "rich", "google"])
def test_without_the_extra_one_line_says_how_to_install_it(missing: str) -> None:
    ran = _run(_WITHOUT, missing)

    hint = "d1-gateway-client: the command line needs rich, typer and protobuf: install the extra, cli\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "222", 3 * hint)


def test_the_client_itself_needs_no_extra() -> None:
    blocked = "; ".join(f"sys.modules['{name}'] = None" for name in ("typer", "rich", "google"))
    assert _run(f"import sys; {blocked}; import d1_gateway_client").returncode == 0


def test_the_commands_but_one_need_no_posix_terminal() -> None:
    ran = _run("import sys; sys.modules['termios'] = None; import d1_gateway_client.cli.app")
    assert (ran.returncode, ran.stderr) == (0, "")


def test_json_has_the_contracts_own_names() -> None:
    ours = messages_pb2.Notification(
        cursor="00000001-7",
        card_id="card-1",
        three_ds_operation=operation_pb2.ThreeDSOperation(
            operation_id="op-1", status=operation_pb2.THREE_DS_OPERATION_STATUS_SUCCESSFUL
        ),
    )
    ours.receive_time.FromJsonString("2026-01-31T12:00:00.123456Z")

    assert '"threeDSOperation"' in MessageToJson(ours)
    assert to_json(as_client_message(ours)) == MessageToJson(ours)


def test_every_rpc_of_the_contracts_is_known_by_name() -> None:
    expected = {
        f"{service.name}/{method.name}"
        for file in (card, consumer, notification, threeds)
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert methods().keys() == expected | {"CallbackService/HandleCallbacks"}
