"""A sandbox starts, listens on this machine alone, and leaves nothing behind; its keys are thrown away."""

import json
import stat
from collections import Counter
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import chain
from pathlib import Path

from cryptography import x509

from sandbox import Sandbox
from sandbox.common.pki import make_pki

_LISTENS = "0A"
_LOOPBACK = "0100007F"


def listening() -> Counter[str]:
    """Return the addresses that this process listens on, in the kernel's notation."""
    own = {link.readlink().name for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}
    tables = [Path("/proc/self/net", name).read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    sockets = [line.split() for line in chain(*tables)]
    return Counter(each[1] for each in sockets if each[3] == _LISTENS and f"socket:[{each[9]}]" in own)


async def test_a_sandbox_listens_on_loopback_alone_while_it_runs(tmp_path: Path) -> None:
    # The process may still listen for another test: earlier listeners are not the sandbox's.
    before = listening()
    async with Sandbox.start(tmp_path):
        opened = listening() - before

    assert opened.total() == 3, "D1, the 3-D Secure server, the control API"
    assert {address.partition(":")[0] for address in opened} == {_LOOPBACK}
    assert not listening() & opened


def test_keys_are_private_and_replaced_and_certificates_end_within_a_week(tmp_path: Path) -> None:
    earlier = make_pki(tmp_path).assertion_key.read_text()

    pki = make_pki(tmp_path)

    assert pki.assertion_key.read_text() != earlier
    servers = [pki.d1_server, pki.threeds_server, pki.grpc_server, pki.edge_server, pki.nats_server]
    clients = [pki.gateway_client, pki.d1_client, pki.nats_client]
    private = [each.key for each in (*servers, *clients)] + [pki.assertion_key, pki.encryption_key, pki.edge_token_key]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    for public in (pki.assertion_public_key, pki.encryption_public_key):
        assert "d" not in json.loads(public.read_text())
    files = [pki.server_ca, *(each.certificate for each in (*clients, *servers))]
    certificates = [x509.load_pem_x509_certificate(path.read_bytes()) for path in files]
    assert max(each.not_valid_after_utc for each in certificates) <= datetime.now(UTC) + timedelta(days=7)
    for certificate in certificates[-len(servers) :]:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["localhost"]
        assert names.get_values_for_type(x509.IPAddress) == [ip_address("127.0.0.1"), ip_address("::1")]
