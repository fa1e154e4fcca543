"""No secret of the settings, or of what is made of them, is ever printed."""

import hashlib
import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from joserfc.jwk import ECKey
from pydantic import BaseModel, SecretStr

from gateway import settings
from gateway.bootstrap import edge, upstreams
from gateway.settings import Settings, SettingsError, ThreeDSSettings, load
from gateway.settings.dump import effective
from tests.unit.settings.settings_files import Files

_API_KEY = "MARKED-api-key"
_HASH = hashlib.sha256(b"MARKED-client-secret").hexdigest()
_PASSPHRASE = "MARKED-passphrase"
_MARKED = ("MARKED", _HASH)
_SOUND_SECRET = ("secret", "passphrase", "password", "api_key")


@pytest.fixture
def files(files: Files) -> Files:
    """The files, with keys in them."""
    files.private.write_bytes(ECKey.generate_key("P-256").as_pem(private=True, password=_PASSPHRASE))
    files.public.write_bytes(ECKey.generate_key("P-256").as_pem(private=False))
    return files


def toml(files: Files, *, passphrase: str = _PASSPHRASE) -> Path:
    """Write settings with every secret in them that there can be, or in a file that they name."""
    file = files.other("passphrase", 0o600)
    file.write_text(passphrase)
    oauth = f"""
[edge.oauth]
client_id = "d1"
client_secret_sha256 = "{_HASH}"
signing_key_file = "{files.private}"
signing_key_passphrase_file = "{file}"
[edge.oauth.clients.ISSUER0001]
client_id = "d1-own"
client_secret_sha256 = "{_HASH}"
"""
    threeds = f"""
[threeds]
base_url = "https://threeds.example"
api_key = "{_API_KEY}"
"""
    text = files.write(edge=oauth, rest=threeds).read_text()
    files.toml.write_text(text.replace('kid = "assertion-1"', f'kid = "assertion-1"\npassphrase_file = "{file}"'))
    return files.toml


def everything(value: object) -> Iterator[BaseModel]:
    """Walk through settings and the tables in them."""
    if isinstance(value, BaseModel):
        yield value
        for name in type(value).model_fields:
            yield from everything(getattr(value, name))
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from everything(each)
    elif isinstance(value, tuple):
        for each in value:
            yield from everything(each)


def secret_fields(model: type[BaseModel]) -> set[str]:
    return {
        f"{model.__name__}.{name}" for name, field in model.model_fields.items() if "SecretStr" in str(field.annotation)
    }


def all_models() -> list[type[BaseModel]]:
    return [each for _, each in inspect.getmembers(settings, inspect.isclass) if issubclass(each, BaseModel)]


def is_clean(text: str) -> bool:
    return not any(mark in text for mark in _MARKED)


def test_the_settings_used_here_set_every_secret_that_there_is(files: Files) -> None:
    filled = {
        f"{type(table).__name__}.{name}"
        for table in everything(load(toml(files)))
        for name in type(table).model_fields
        if isinstance(getattr(table, name), SecretStr)
    }

    assert filled == set().union(*map(secret_fields, all_models()))
    assert filled == {
        "EdgeOAuthClientSettings.client_secret_sha256",
        "EdgeOAuthSettings.client_secret_sha256",
        "ThreeDSSettings.api_key",
    }


def test_what_sounds_like_a_secret_is_one_or_a_file() -> None:
    plain = [
        f"{model.__name__}.{name}"
        for model in all_models()
        for name in model.model_fields
        if any(sound in name for sound in _SOUND_SECRET) and not name.endswith("_file")
    ]

    assert set(plain) == set().union(*map(secret_fields, all_models()))


@pytest.mark.parametrize("form", [repr, str, BaseModel.model_dump_json, BaseModel.model_dump, "{}".format])
def test_no_table_of_the_settings_shows_a_secret(files: Files, form: Callable[[BaseModel], object]) -> None:
    for table in everything(load(toml(files))):
        assert is_clean(str(form(table)))


def test_what_config_check_prints_shows_no_secret_and_where_there_is_one(files: Files) -> None:
    printed = effective(load(toml(files)))

    assert is_clean(printed)
    assert printed.count('"***"') == 3


def test_what_is_made_of_the_settings_shows_no_secret(files: Files) -> None:
    loaded = load(toml(files))
    assert loaded.threeds is not None
    assert loaded.edge.oauth is not None
    api_key = loaded.threeds.read_api_key()
    tokens = edge.tokens(loaded.edge.oauth)
    client = tokens.clients.of_issuer("ISSUER0001")
    assert client is not None
    token = tokens.issue(client)
    keys = upstreams.issuer_keys(loaded)
    private = next(iter(keys.values())).assertion_keys[0].as_dict(private=True)["d"]

    shown = f"{api_key} {api_key!r} {tokens!r} {client!r} {token!r} {keys!r}"

    assert api_key.get_secret_value() == _API_KEY
    assert is_clean(shown)
    assert token.value not in shown
    assert str(private) not in shown


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        (f'api_key = "{_API_KEY}"', f'api_key = "{_API_KEY}"\napi_key_file = "/dev/null"'),
        (f'api_key = "{_API_KEY}"', 'api_key = ["MARKED"]'),
        (f'api_key = "{_API_KEY}"', f'api_key = "{_API_KEY}'),
        (f'api_key = "{_API_KEY}"', f'api_key = "{_API_KEY}"\nconnect_timeout_seconds = 100'),
        (f'client_secret_sha256 = "{_HASH}"', 'client_secret_sha256 = "MARKED"'),
        (f'client_secret_sha256 = "{_HASH}"', f'client_secret_sha256 = "{_HASH}"\nscope = 5'),
    ],
    ids=["two", "a list", "no TOML", "the rest of its table", "no hash", "beside another mistake"],
)
def test_a_mistake_is_named_without_the_secret_in_or_beside_it(files: Files, found: str, wrong: str) -> None:
    file = toml(files)
    file.write_text(file.read_text().replace(found, wrong))

    with pytest.raises(SettingsError) as caught:
        load(file)

    assert is_clean("".join(traceback.format_exception(caught.value)))


def test_what_is_given_to_the_settings_in_code_is_not_in_their_errors() -> None:
    values = {"api_key": _API_KEY}
    errors = []
    for give in (lambda: ThreeDSSettings.model_validate(values), lambda: Settings.model_validate({"threeds": values})):
        with pytest.raises(ValueError, match="base_url") as caught:
            give()
        errors.append(str(caught.value))

    assert all(map(is_clean, errors))


def test_a_passphrase_that_does_not_fit_is_not_in_the_error(files: Files) -> None:
    loaded = load(toml(files, passphrase="MARKED-wrong"))

    with pytest.raises(SettingsError, match="does not open") as caught:
        upstreams.issuer_keys(loaded)

    assert is_clean("".join(traceback.format_exception(caught.value)))
