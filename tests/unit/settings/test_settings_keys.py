"""The keys of an issuer as the settings name them."""

import json
from datetime import UTC, datetime

import pytest
from joserfc.jwk import ECKey

from gateway.bootstrap import upstreams
from gateway.settings import SettingsError, load
from gateway.settings.dump import effective
from tests.unit.settings.settings_files import Files, mistakes_of

_LATER = "active_from = 2027-03-01T06:00:00Z"


def assertion_key(kid: str, more: str = "") -> str:
    return f'[[issuers.ISSUER0001.assertion_keys]]\nfile = "{{private}}"\nkid = "{kid}"\n{more}\n'


def encryption_key(kid: str, more: str = "") -> str:
    return f'[[issuers.ISSUER0001.d1_encryption_keys]]\nfile = "{{public}}"\nkid = "{kid}"\n{more}\n'


def test_two_keys_of_each_kind_are_read_in_their_order_and_printed_as_they_can_be_read_again(files: Files) -> None:
    settings = files.load(
        rest=assertion_key("assertion-2", 'passphrase_file = "{private}"')
        + encryption_key("encryption-2", "active_from = 2027-03-01T08:00:00+02:00")
    )

    issuer = settings.issuers["ISSUER0001"]
    assert [key.kid for key in issuer.assertion_keys] == ["assertion-1", "assertion-2"]
    assert [key.passphrase_file for key in issuer.assertion_keys] == [None, files.private]
    assert [key.kid for key in issuer.d1_encryption_keys] == ["encryption-1", "encryption-2"]
    assert [key.active_from for key in issuer.d1_encryption_keys] == [None, datetime(2027, 3, 1, 6, tzinfo=UTC)]
    files.toml.write_text(effective(settings))
    assert load(files.toml) == settings


_ASSERTION, _ENCRYPTION = "issuers.ISSUER0001.assertion_keys (", "issuers.ISSUER0001.d1_encryption_keys ("


@pytest.mark.parametrize(
    ("keys", "place", "fault"),
    [
        (assertion_key("2") + assertion_key("3"), _ASSERTION, "expected one or two keys"),
        (encryption_key("2", _LATER) + encryption_key("3"), _ENCRYPTION, "expected one or two keys"),
        (assertion_key("assertion-1"), "issuers.ISSUER0001", "duplicate kid assertion-1"),
        (encryption_key("encryption-1", _LATER), "issuers.ISSUER0001", "duplicate kid encryption-1"),
        (encryption_key("encryption-2"), "issuers.ISSUER0001", "active_from must differ"),
        *(
            (encryption_key("encryption-2", f"active_from = {moment}"), f"{_ENCRYPTION[:-2]}.1.active_from ", "")
            for moment in ("2027-03-01T06:00:00", "2027-03-01", '"soon"')
        ),
    ],
    ids=[
        *("a third assertion key", "a third encryption key", "two assertion keys of one kid"),
        *("two encryption keys of one kid", "two encryption keys of which neither comes first"),
        *("a moment without a zone", "a day", "no moment"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(files: Files, keys: str, place: str, fault: str) -> None:
    (mistake,) = files.mistakes(rest=keys)

    assert mistake.startswith(place)
    assert fault in mistake


@pytest.mark.parametrize("kind", ["assertion_keys", "d1_encryption_keys"])
@pytest.mark.parametrize("left", ["", '[issuers."ISSUER0001"]\n{} = []\n'])
def test_no_key_at_all_is_refused(files: Files, kind: str, left: str) -> None:
    text = files.write().read_text()
    table = text.index(f'[[issuers."ISSUER0001".{kind}]]')
    end = text.find("[[", table + 2)
    files.toml.write_text(text[:table] + left.format(kind) + ("" if end < 0 else text[end:]))

    (mistake,) = mistakes_of(files.toml)

    assert mistake.startswith("issuers.ISSUER0001")
    assert kind in mistake


_AGGREGATOR = '[[aggregators.{}.assertion_keys]]\nfile = "{{private}}"\nkid = "assertion-1"\n'


def aggregated(files: Files, named: str, rest: str) -> str:
    """Write settings whose issuer names an aggregator instead of keys; return them."""
    text = files.write(rest=rest).read_text()
    own = files.filled('[[issuers."ISSUER0001".assertion_keys]]\nfile = "{private}"\nkid = "assertion-1"\n')
    assert own in text
    text = text.replace(own, f'[issuers."ISSUER0001"]\naggregator = "{named}"\n')
    files.toml.write_text(text)
    return text


def test_an_issuer_may_leave_assertions_to_an_aggregator(files: Files) -> None:
    aggregated(files, "AGGREGATOR", _AGGREGATOR.format("AGGREGATOR"))

    settings = load(files.toml)

    assert settings.issuers["ISSUER0001"].aggregator == "AGGREGATOR"
    assert [key.kid for key in settings.aggregators["AGGREGATOR"].assertion_keys] == ["assertion-1"]
    files.toml.write_text(effective(settings))
    assert load(files.toml) == settings


@pytest.mark.parametrize(
    ("rest", "fault"),
    [
        (_AGGREGATOR.format("ANOTHER"), "issuers.ISSUER0001.aggregator: there is no table [aggregators.AGGREGATOR]"),
        (_AGGREGATOR.format("AGGREGATOR") + assertion_key("assertion-1"), "set either assertion_keys or aggregator"),
        ("[aggregators.AGGREGATOR]\nassertion_keys = []\n", "aggregators.AGGREGATOR.assertion_keys "),
        (_AGGREGATOR.format("AGGREGATOR") * 2, "duplicate kid assertion-1"),
        (_AGGREGATOR.format("AGGREGATOR") * 3, "expected one or two keys"),
    ],
    ids=["an unknown one", "and keys of its own", "without keys", "the same key twice", "three keys"],
)
def test_an_aggregator_that_cannot_sign_for_the_issuer_is_refused(files: Files, rest: str, fault: str) -> None:
    aggregated(files, "AGGREGATOR", rest)

    assert any(fault in mistake for mistake in mistakes_of(files.toml))


def test_an_aggregator_needs_the_common_client_certificate(files: Files) -> None:
    text = aggregated(files, "AGGREGATOR", _AGGREGATOR.format("AGGREGATOR"))
    certificate = files.filled('tls_certificate_file = "{public}"\ntls_key_file = "{private}"\n')
    table = '[issuers."ISSUER0001"]\n'
    files.toml.write_text(text.replace(f"[d1]\n{certificate}", "[d1]\n").replace(table, table + certificate))

    (mistake,) = mistakes_of(files.toml)

    assert "aggregators: their tokens require d1.tls_certificate_file" in mistake


def test_an_aggregators_keys_are_those_of_its_issuers_and_a_wrong_one_is_named_as_its_own(files: Files) -> None:
    aggregated(files, "AGGREGATOR", _AGGREGATOR.format("AGGREGATOR"))
    files.public.write_bytes(ECKey.generate_key("P-256").as_pem(private=False))
    files.private.write_text(json.dumps(ECKey.generate_key("P-256", {"use": "sig"}).as_dict(private=True)))

    keys = upstreams.issuer_keys(load(files.toml))["ISSUER0001"]

    assert ([key.kid for key in keys.assertion_keys], keys.aggregator_id) == (["assertion-1"], "AGGREGATOR")
    files.private.write_text(json.dumps(ECKey.generate_key("P-256", {"use": "enc"}).as_dict(private=True)))
    with pytest.raises(
        SettingsError, match=r"^aggregators\.AGGREGATOR: assertion_keys: 'assertion-1' is not for the use"
    ):
        upstreams.issuer_keys(load(files.toml))
