"""The keys of an issuer as the settings name them."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.settings import SettingsError, load
from gateway.settings.dump import effective
from tests.unit.settings.settings_files import Files


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files.make(tmp_path)


def assertion_key(files: Files, kid: str, more: str = "") -> str:
    return f'[[issuers.ISSUER0001.assertion_keys]]\nfile = "{files.private}"\nkid = "{kid}"\n{more}\n'


def encryption_key(files: Files, kid: str, more: str = "") -> str:
    return f'[[issuers.ISSUER0001.d1_encryption_keys]]\nfile = "{files.public}"\nkid = "{kid}"\n{more}\n'


def mistake_of(file: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        load(file)
    (mistake,) = caught.value.mistakes
    return mistake


def test_two_keys_of_each_kind_are_read_in_their_order_and_printed_as_they_can_be_read_again(files: Files) -> None:
    next_keys = assertion_key(files, "assertion-2", f'passphrase_file = "{files.private}"') + encryption_key(
        files, "encryption-2", "active_from = 2027-03-01T08:00:00+02:00"
    )
    settings = load(files.write(rest=next_keys))

    issuer = settings.issuers["ISSUER0001"]
    assert [key.kid for key in issuer.assertion_keys] == ["assertion-1", "assertion-2"]
    assert [key.passphrase_file for key in issuer.assertion_keys] == [None, files.private]
    assert [key.kid for key in issuer.d1_encryption_keys] == ["encryption-1", "encryption-2"]
    assert [key.active_from for key in issuer.d1_encryption_keys] == [None, datetime(2027, 3, 1, 6, tzinfo=UTC)]
    files.toml.write_text(effective(settings))
    assert load(files.toml) == settings


@pytest.mark.parametrize("kind", ["assertion_keys", "d1_encryption_keys"])
def test_a_third_key_is_one_too_many(files: Files, kind: str) -> None:
    make = assertion_key if kind == "assertion_keys" else encryption_key
    third = make(files, "2", "" if make is assertion_key else "active_from = 2027-03-01T06:00:00Z") + make(files, "3")

    mistake = mistake_of(files.write(rest=third))

    assert mistake == f"issuers.ISSUER0001.{kind} ({files.toml}): expected one or two keys"


@pytest.mark.parametrize("kind", ["assertion_keys", "d1_encryption_keys"])
@pytest.mark.parametrize("left", ["", '[issuers."ISSUER0001"]\n{} = []\n'])
def test_no_key_at_all_is_refused(files: Files, kind: str, left: str) -> None:
    text = files.write().read_text()
    table = text.index(f'[[issuers."ISSUER0001".{kind}]]')
    end = text.find("[[", table + 2)
    files.toml.write_text(text[:table] + left.format(kind) + ("" if end < 0 else text[end:]))

    assert mistake_of(files.toml).startswith(f"issuers.ISSUER0001.{kind} ")


def test_two_keys_under_one_kid_are_refused(files: Files) -> None:
    later = "active_from = 2027-03-01T06:00:00Z"

    assert "duplicate kid assertion-1" in mistake_of(files.write(rest=assertion_key(files, "assertion-1")))
    assert "duplicate kid encryption-1" in mistake_of(files.write(rest=encryption_key(files, "encryption-1", later)))


def test_two_encryption_keys_of_which_neither_comes_first_are_refused(files: Files) -> None:
    assert "active_from must differ" in mistake_of(files.write(rest=encryption_key(files, "encryption-2")))


@pytest.mark.parametrize("moment", ["2027-03-01T06:00:00", "2027-03-01", '"soon"'])
def test_a_moment_that_is_none_everywhere_is_refused(files: Files, moment: str) -> None:
    mistake = mistake_of(files.write(rest=encryption_key(files, "encryption-2", f"active_from = {moment}")))

    assert mistake.startswith("issuers.ISSUER0001.d1_encryption_keys.1.active_from ")


@pytest.mark.parametrize("table", ["grpc", "edge", "d1", "issuers.ISSUER0001.assertion_keys.0"])
def test_a_passphrase_that_others_can_read_is_refused(files: Files, table: str) -> None:
    loose = files.folder / "passphrase"
    loose.write_text("word")
    loose.chmod(0o640)
    setting = "passphrase_file" if table.startswith("issuers") else "tls_key_passphrase_file"
    line = f'{setting} = "{loose}"'
    text = files.write(
        edge=line if table == "edge" else "",
        d1=line if table == "d1" else "",
        rest=f'[grpc]\ntls_certificate_file = "{files.public}"\ntls_key_file = "{files.private}"\n'
        + (line if table == "grpc" else ""),
    ).read_text()
    if table.startswith("issuers"):
        files.toml.write_text(text.replace('kid = "assertion-1"', f'kid = "assertion-1"\n{line}'))

    mistake = mistake_of(files.toml)

    assert mistake.startswith(f"{table}.{setting} ")
    assert "chmod 600" in mistake


def test_a_passphrase_without_a_key_for_it_is_refused(files: Files) -> None:
    mistake = mistake_of(files.write(rest=f'[grpc]\ntls_key_passphrase_file = "{files.private}"'))

    assert "tls_key_passphrase_file requires tls_key_file" in mistake
