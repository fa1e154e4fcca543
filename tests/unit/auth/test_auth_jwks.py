import asyncio
import base64
import json
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.jwk import ECKey, OctKey, OKPKey

from gateway.auth.errors import Unidentified
from gateway.auth.jwks import Jwks, parse
from gateway.auth.jwks_sources import FileSource, SourceError, url_source
from sandbox.common.pki import make_pki
from tests.unit.auth.auth_provider import Provider, provider
from tests.unit.auth.auth_tokens import ALGORITHMS, EC, ED, RSA, Held, jwk, jwk_set, signed, until, verifier

P384 = ECKey.generate_key("P-384", {"kid": "p384"})
X25519 = OKPKey.generate_key("X25519", {"kid": "x25519"})
SHARED = OctKey.generate_key(256, {"kid": "shared"})
NEW = ECKey.generate_key("P-256", {"kid": "new"})
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _rsa(bits: int) -> dict[str, Any]:
    modulus = rsa.generate_private_key(65537, bits).public_key().public_numbers().n
    n = base64.urlsafe_b64encode(modulus.to_bytes(bits // 8)).rstrip(b"=").decode()
    return {"kty": "RSA", "kid": "rsa", "n": n, "e": "AQAB"}


USELESS: dict[str, Any] = {
    "for encryption": jwk(EC, use="enc"),
    "of an unknown use": jwk(EC, use="SIG"),
    "to sign only": jwk(EC, key_ops=["sign"]),
    "with key_ops that are no list": jwk(EC, key_ops="verify"),
    "without kid": {name: value for name, value in jwk(EC).items() if name != "kid"},
    "with an empty kid": jwk(EC, kid=""),
    "with a kid that is a number": jwk(EC, kid=1),
    "with its private half": {**EC.as_dict(private=True), "kid": "ec"},
    "RSA with its private half": {**RSA.as_dict(private=True), "kid": "rsa"},
    "shared": {**SHARED.as_dict(private=True), "kid": "shared"},
    "shared, without its secret": {"kty": "oct", "kid": "shared", "alg": "HS256"},
    "for a shared algorithm": jwk(RSA, alg="HS256"),
    "for no signature": jwk(RSA, alg="none"),
    "for an algorithm that is not configured": jwk(RSA, alg="RS512"),
    "for an algorithm of another kind": jwk(EC, alg="RS256"),
    "on another curve": jwk(P384),
    "on another curve than it says": jwk(P384, crv="P-256"),
    "on a curve for key agreement": jwk(X25519),
    "a point off the curve": jwk(EC, y=jwk(EC)["x"]),
    "without a coordinate": {name: value for name, value in jwk(EC).items() if name != "y"},
    "not in base64url": jwk(EC, x="+/=="),
    "with numbers for text": jwk(EC, x=1),
    "RSA of 1024 bits": _rsa(1024),
    "RSA of 1024 bits filled up with zeros": jwk(
        RSA, n=base64.urlsafe_b64encode(bytes(128) + b"\x80" + bytes(126) + b"\x01").rstrip(b"=").decode()
    ),
    "RSA with the exponent 1": jwk(RSA, e="AQ"),
    "RSA without its modulus": {"kty": "RSA", "kid": "rsa", "e": "AQAB"},
    "of an unknown kind": {"kty": "AKP", "kid": "pq", "alg": "ML-DSA-44", "pub": "AAAA"},
    "of a kind that is no text": jwk(EC, kty=["EC"]),
    "no object": "ec",
    "nothing": None,
}


@pytest.mark.parametrize("useless", USELESS.values(), ids=USELESS.keys())
def test_a_key_that_must_not_verify_is_passed_over_and_the_others_are_kept(useless: object) -> None:
    document = json.dumps({"keys": [useless, jwk(NEW)]}).encode()

    assert [*parse(document, ALGORITHMS)] == [("new", "ES256")]


def test_a_key_is_found_in_public_for_the_algorithms_that_fit_it_and_no_other() -> None:
    document = jwk_set(jwk(EC, use="sig", key_ops=["verify"]), jwk(RSA), jwk(ED), jwk(RSA, kid="ps", alg="PS256"))

    keys = parse(document, ALGORITHMS)

    assert {*keys} == {
        ("ec", "ES256"),
        ("rsa", "RS256"),
        ("rsa", "PS256"),
        ("ed", "EdDSA"),
        ("ed", "Ed25519"),
        ("ps", "PS256"),
    }
    assert not any(key.is_private for key in keys.values())


@pytest.mark.parametrize("document", [b"", b"\xff", b"[]", b"{}", b'"keys"', b'{"keys":{}}', b'{"keys":' + b"[" * 5000])
def test_what_is_no_jwk_set_is_an_error(document: bytes) -> None:
    with pytest.raises(SourceError, match="not a JWK set"):
        parse(document, ALGORITHMS)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def _served(**changes: Any) -> AsyncIterator[tuple[Provider, Jwks, Clock]]:
    """Keys of a provider of `EC`, changed before they are first read; they are read again only when one is missing."""
    clock = Clock()
    async with provider(jwk_set(jwk(EC))) as served, url_source(served.url, NO_TLS) as source:
        for name, value in changes.items():
            setattr(served, name, value)
        keys = Jwks(source, ALGORITHMS, clock=clock)
        async with keys.kept_fresh(3600):
            yield served, keys, clock


async def test_keys_are_read_from_json_that_a_provider_writes_in_its_own_way() -> None:
    nulls = dict.fromkeys(("use", "alg", "key_ops", "d"))
    written = jwk_set(jwk(EC, **nulls, x5c="Caf\ud83d", serial=10**22)).replace(b'"serial"', b'"factor":1e999,"serial"')
    async with _served(document=b"\xef\xbb\xbf" + written) as (_, keys, _):
        assert (await verifier(keys).verify(signed())).subject == "card-service"


async def test_a_thousand_tokens_of_an_unknown_key_cause_one_request() -> None:
    async with _served() as (served, keys, clock):
        assert served.request_count == 1
        clock.now = 31.0
        tokens = verifier(keys)
        bad = [signed(header={"kid": f"unknown-{number}"}) for number in range(1000)]

        results = await asyncio.gather(*(tokens.verify(each) for each in bad), return_exceptions=True)

        assert all(isinstance(each, Unidentified) for each in results)
        # What is the same again is no new generation.
        assert (served.request_count, keys.generation) == (2, 1)
        for each in bad[:50]:
            with pytest.raises(Unidentified):
                await tokens.verify(each)
        assert served.request_count == 2


async def test_a_new_key_is_found_once_the_floor_is_past() -> None:
    async with _served() as (served, keys, clock):
        tokens, token = verifier(keys), signed(NEW)
        served.document = jwk_set(jwk(EC), jwk(NEW))

        clock.now = 29.9
        with pytest.raises(Unidentified, match="no key"):
            await tokens.verify(token)
        clock.now = 30.0
        assert (await tokens.verify(token)).subject == "card-service"
        assert served.request_count == 2


async def test_all_tokens_of_a_new_key_wait_for_the_same_reading() -> None:
    async with _served() as (served, keys, clock):
        served.document, clock.now = jwk_set(jwk(NEW)), 60.0
        served.opened.clear()
        tokens = verifier(keys)
        waiting = [asyncio.create_task(tokens.verify(signed(NEW, jti=str(number)))) for number in range(20)]
        await until(lambda: served.request_count >= 2)
        late = asyncio.create_task(tokens.verify(signed(NEW, jti="late")))
        await asyncio.sleep(0)
        served.opened.set()

        assert {each.subject for each in await asyncio.gather(late, *waiting)} == {"card-service"}
        assert served.request_count == 2


async def test_a_caller_that_hangs_up_does_not_end_the_reading_that_others_wait_for() -> None:
    async with _served() as (served, keys, clock):
        served.document, clock.now = jwk_set(jwk(NEW)), 60.0
        served.opened.clear()
        first = asyncio.create_task(keys.find("new", "ES256"))
        await until(lambda: served.request_count >= 2)
        second = asyncio.create_task(keys.find("new", "ES256"))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        served.opened.set()

        assert await second is not None
        assert served.request_count == 2


OUTAGES: dict[str, dict[str, Any]] = {
    "HTTP 500": {"status": 500},
    "a redirect to where the keys are": {"status": 302, "location": "/jwks?again"},
    "no JSON": {"document": b"<html>"},
    "too much": {"document": b" " * 300_000 + jwk_set(jwk(NEW))},
}


@pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES.keys())
async def test_a_reading_that_fails_keeps_the_keys(outage: dict[str, Any]) -> None:
    async with _served() as (served, keys, clock):
        for name, value in outage.items():
            setattr(served, name, value)
        clock.now = 60.0

        with structlog.testing.capture_logs() as lines:
            assert await keys.find("new", "ES256") is None

        assert (await verifier(keys).verify(signed())).subject == "card-service"
        assert served.request_count == 2
        assert [line["event"] for line in lines] == ["jwks_load_failed"]


async def test_a_provider_that_is_silent_and_then_gone_keeps_the_keys() -> None:
    async with _served() as (served, keys, clock):
        served.opened.clear()
        clock.now = 60.0
        async with url_source(served.url, NO_TLS, total_timeout_seconds=0.1) as keys._source:
            assert await keys.find("new", "ES256") is None
            assert await keys.find("ec", "ES256") is not None
    async with url_source(served.url, NO_TLS) as keys._source:
        clock.now = 120.0
        assert await keys.find("new", "ES256") is None
        assert await keys.find("ec", "ES256") is not None


async def test_without_keys_at_the_start_tokens_are_refused_until_there_are_some() -> None:
    async with _served(status=503) as (served, keys, clock):
        with pytest.raises(Unidentified, match="no key"):
            await verifier(keys).verify(signed())

        served.status, clock.now = 200, 31.0

        assert (await verifier(keys).verify(signed())).subject == "card-service"


async def test_keys_are_read_again_at_their_age() -> None:
    async with provider(jwk_set(jwk(EC))) as served, url_source(served.url, NO_TLS) as source:
        keys = Jwks(source, ALGORITHMS)
        async with keys.kept_fresh(0.01):
            served.document = jwk_set(jwk(NEW))
            await until(lambda: keys.generation == 2)
            assert await keys.find("new", "ES256") is not None
            assert await keys.find("ec", "ES256") is None
            served.status = 500
            sent = served.request_count
            await until(lambda: served.request_count >= sent + 3)

        assert await keys.find("new", "ES256") is not None


async def test_reading_ends_with_the_context_even_while_the_provider_is_silent() -> None:
    async with provider(jwk_set(jwk(EC))) as served, url_source(served.url, NO_TLS) as source:
        before = asyncio.all_tasks()
        async with Jwks(source, ALGORITHMS).kept_fresh(0.01):
            served.opened.clear()
            await until(lambda: served.request_count >= 2)

        served.opened.set()
        assert not [task for task in asyncio.all_tasks() - before if "Jwks" in repr(task)]


async def test_keys_come_over_tls_only_from_a_server_of_the_trusted_ca(tmp_path: Path) -> None:
    pki = make_pki(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pki.threeds_server.certificate, pki.threeds_server.key)
    trusting = ssl.create_default_context(cafile=pki.server_ca)
    mistrusting = ssl.create_default_context(cafile=pki.d1_client_ca)

    async with provider(jwk_set(jwk(EC)), tls) as served:
        async with url_source(served.url, trusting) as source:
            assert await source.read() == served.document
        async with url_source(served.url, mistrusting) as source:
            with pytest.raises(SourceError, match="Certificate"):
                await source.read()
        assert served.request_count == 1


async def test_the_query_of_a_url_is_no_part_of_its_location() -> None:
    async with url_source("https://identity.bank/jwks?key=secret", NO_TLS) as source:
        assert source.location == "https://identity.bank/jwks"


async def test_a_file_is_read_again_only_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(jwk_set(jwk(EC)))
    source = FileSource(file)

    assert await source.read() == jwk_set(jwk(EC))
    assert await source.read() is None
    replacement = tmp_path / "next.json"
    replacement.write_bytes(jwk_set(jwk(ED)))
    replacement.replace(file)
    assert await _settled(source) == jwk_set(jwk(ED))
    assert await source.read() is None


async def test_a_file_changed_in_place_is_read_though_its_size_and_time_stay(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(b"first")
    source, status = FileSource(file), file.stat()
    assert await source.read() == b"first"

    file.write_bytes(b"FIRST")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert await _settled(source) == b"FIRST"


async def test_a_file_is_not_taken_while_it_is_being_written(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_bytes(b"first")
    source = FileSource(file)
    await source.read()
    for part in (b"", b"second,", b"second, and its end"):
        file.write_bytes(part)
        assert await source.read() is None

    assert await source.read() == b"second, and its end"


async def test_a_file_in_a_mounted_folder_is_read_when_a_link_leads_to_the_next_one(tmp_path: Path) -> None:
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        (tmp_path / number / "policy.toml").write_text(number)
    (tmp_path / "..data").symlink_to("1")
    file = tmp_path / "policy.toml"
    file.symlink_to("..data/policy.toml")
    source = FileSource(file)
    assert await source.read() == b"1"
    (tmp_path / "..next").symlink_to("2")

    (tmp_path / "..next").rename(tmp_path / "..data")

    assert await _settled(source) == b"2"


async def _settled(source: FileSource) -> bytes | None:
    """Look a first time, which only sees a change, and a second time."""
    assert await source.read() is None
    return await source.read()


async def test_a_file_that_goes_is_an_error_once_and_read_when_it_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    source = FileSource(file)

    with pytest.raises(SourceError, match="No such file"):
        await source.read()
    assert await source.read() is None
    file.write_bytes(b"x" * 262_145)
    with pytest.raises(SourceError, match="larger"):
        await _settled(source)
    file.write_bytes(jwk_set(jwk(EC)))
    assert await _settled(source) == jwk_set(jwk(EC))


async def test_what_a_source_says_is_logged_without_what_stands_in_it() -> None:
    source = Held(b'{"secret": "s3cret"}')
    keys = Jwks(source, ALGORITHMS)

    with structlog.testing.capture_logs() as lines:
        async with keys.kept_fresh(3600):
            pass

    assert [line["why"] for line in lines] == ["not a JWK set"]
    assert "s3cret" not in str(lines)
