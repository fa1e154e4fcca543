import json
import stat
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sandbox.common.pki import Identity, Pki, make_pki


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("pki") / "new")


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def servers(pki: Pki) -> list[Identity]:
    return [pki.d1_server, pki.threeds_server, pki.grpc_server, pki.edge_server]


def test_private_files_are_for_their_owner_only(pki: Pki) -> None:
    identities = [*servers(pki), pki.gateway_client, pki.d1_client, pki.nats_server, pki.nats_client]
    private = [identity.key for identity in identities] + [pki.assertion_key, pki.encryption_key, pki.edge_token_key]

    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}


def test_a_server_certificate_names_every_form_of_loopback(pki: Pki) -> None:
    for server in [*servers(pki), pki.nats_server]:
        names = certificate(server.certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["localhost"]
        assert names.get_values_for_type(x509.IPAddress) == [ip_address("127.0.0.1"), ip_address("::1")]


def test_each_authority_signs_for_one_purpose(pki: Pki) -> None:
    for server in servers(pki):
        certificate(server.certificate).verify_directly_issued_by(certificate(pki.server_ca))
    certificate(pki.gateway_client.certificate).verify_directly_issued_by(certificate(pki.gateway_client_ca))
    certificate(pki.d1_client.certificate).verify_directly_issued_by(certificate(pki.d1_client_ca))
    for identity in (pki.nats_server, pki.nats_client):
        certificate(identity.certificate).verify_directly_issued_by(certificate(pki.nats_ca))
    with pytest.raises(ValueError, match="does not match certificate issuer"):
        certificate(pki.gateway_client.certificate).verify_directly_issued_by(certificate(pki.d1_client_ca))


def test_the_gateways_certificate_is_p256_and_named_as_d1_demands(pki: Pki) -> None:
    gateway = certificate(pki.gateway_client.certificate)
    key = gateway.public_key()
    (name,) = gateway.subject.get_attributes_for_oid(NameOID.COMMON_NAME)

    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    assert str(name.value).startswith("TLSMA-")


def test_certificates_end_within_a_week(pki: Pki) -> None:
    for path in (pki.server_ca, pki.gateway_client_ca, pki.d1_client_ca, pki.d1_client.certificate):
        assert certificate(path).not_valid_after_utc <= datetime.now(UTC) + timedelta(days=7)


def test_public_and_private_halves_of_a_key_have_one_kid(pki: Pki) -> None:
    for private, public in (
        (pki.assertion_key, pki.assertion_public_key),
        (pki.encryption_key, pki.encryption_public_key),
    ):
        private_key, public_key = json.loads(private.read_text()), json.loads(public.read_text())
        assert private_key["kid"] == public_key["kid"]
        assert private_key["x"] == public_key["x"]
        assert "d" in private_key
        assert "d" not in public_key


def test_an_earlier_set_in_the_same_folder_is_replaced(tmp_path: Path) -> None:
    before = make_pki(tmp_path).assertion_key.read_text()

    again = make_pki(tmp_path)

    assert again.assertion_key.read_text() != before
    assert stat.S_IMODE(again.assertion_key.stat().st_mode) == 0o600
