"""What the simulators keep in a folder, what they refuse there, and where a sandbox does not start."""

import json
import os
import shutil
import socket
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from rich.console import Console

from sandbox import Sandbox
from sandbox.common.fields import InvalidValueError
from sandbox.common.pki import kept_pki, make_pki
from sandbox.common.ports import free_ports
from sandbox.common.state import KeptState, StateError
from sandbox.d1.model.contract import CardState, InitialState, SuspendReason
from sandbox.d1.model.errors import D1Error
from sandbox.d1.model.notification import Notification
from sandbox.d1.model.personal import PersonalInformation
from sandbox.d1.model.store import CardDetails, CardStore, Credentials
from sandbox.playground import Choices, PlaygroundError, playground
from sandbox.playground.fixtures import SAMPLE, Fixtures
from sandbox.playground.folder import use_folder
from sandbox.playground.ports import Ports
from sandbox.sandbox import PRODUCTS
from sandbox.threeds.cards import card_of
from sandbox.threeds.transaction import PASSED, Authentication, Phase

_PAN, _NEW_PAN, _CHALLENGED = "4970101234567890", "4970101234567908", "9000100111110170"
_PERSON = {"language": "en-GB", "firstName": "Zebedee"}


@asynccontextmanager
async def kept(folder: Path) -> AsyncIterator[Sandbox]:
    with KeptState.open(folder) as state:
        async with Sandbox.start(folder / "keys", state=state) as sandbox:
            yield sandbox


def _details(consumer_id: str, pan: str) -> CardDetails:
    return CardDetails(consumer_id, "light", InitialState.ACTIVE, credentials=Credentials(pan, "1231"))


async def test_the_next_sandbox_knows_cards_consumers_history_authenticators_and_transactions(tmp_path: Path) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    operation = Notification("card_1", "op_1", now, details={"acsTransactionId": "a"}, error="The OTP expired")
    authentication = Authentication("2.2.0", "02", "01", "https://shop.example/", None, "acs", "ds")
    async with kept(tmp_path) as first:
        first.store.register_consumer("consumer_1", PersonalInformation.of(_PERSON))
        first.store.register("card_1", _details("consumer_1", _PAN))
        first.store.register("card_2", _details("consumer_2", _CHALLENGED))
        first.store.replace("card_2", Credentials(_NEW_PAN, "1235"), None)
        first.store.suspend("card_1", SuspendReason.CARD_LOST)
        first.history.add(operation)
        first.authenticators.enrol("consumer_1", "app_1")
        first.authenticators.delete(first.authenticators.enrol("consumer_2"))
        card = card_of(_CHALLENGED)
        assert card is not None
        looked_up = first.transactions.open(_CHALLENGED, card, "standin")
        challenged = first.transactions.open(_CHALLENGED, card, "standin")
        first.transactions.challenge(challenged, authentication)
        first.transactions.ask(challenged)
        remembered = first.store.cards(), first.store.consumer_ids(), first.transactions.all()
        keys = first.pki.caller.key.read_bytes(), first.threeds_api_key

    async with kept(tmp_path) as second:
        assert (second.store.cards(), second.store.consumer_ids(), second.transactions.all()) == remembered
        assert (second.pki.caller.key.read_bytes(), second.threeds_api_key) == keys
        assert second.store.card("card_1").suspended_for is SuspendReason.CARD_LOST
        assert second.store.personal_information("consumer_1") == PersonalInformation.of(_PERSON)
        assert second.history.of("card_1") == [operation]
        assert second.authenticators.all() == {"app_1": "consumer_1"}
        with pytest.raises(D1Error, match="number is in use"):
            second.store.register("card_3", _details("consumer_1", _CHALLENGED))
        with pytest.raises(InvalidValueError):
            second.store.renew("card_2", Credentials(_PAN, "1235"), None)
        found = second.transactions.find(challenged.trans_id)
        assert found is not None
        second.transactions.conclude(found, PASSED)
        second.store.delete_consumer("consumer_1")

    async with kept(tmp_path) as third:
        assert third.store.card("card_1").state is CardState.DELETED
        assert third.store.consumer_ids() == ("consumer_2",)
        phases = {each.trans_id: each.phase for each in third.transactions.all()}
        assert phases == {looked_up.trans_id: Phase.LOOKED_UP, challenged.trans_id: Phase.RESULT}
        # Time goes on while no sandbox runs.
        late = (datetime.now(UTC) + timedelta(days=1)).timestamp()
    with KeptState.open(tmp_path) as state:
        async with Sandbox.start(tmp_path / "keys", state=state, clock=lambda: late) as fourth:
            assert fourth.transactions.all() == ()


async def test_no_card_number_and_no_personal_data_are_in_clear_and_what_is_private_stays_so(tmp_path: Path) -> None:
    async with kept(tmp_path) as sandbox:
        sandbox.store.register_consumer("consumer_1", PersonalInformation.of(_PERSON))
        sandbox.store.register("card_1", _details("consumer_1", _PAN))
        files = _files(tmp_path)
        content = b"".join(file.read_bytes() for file in files)
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in files}

    assert b"card_1" in content
    assert _PAN.encode() not in content
    assert b"Zebedee" not in content
    private = {name for name in modes if name.startswith("state.") or "-key" in name}
    assert private >= {"state.key", "state.db", "caller-key.pem"}
    assert {modes[name] for name in private} == {0o600}


def _files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


def _names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def _foreign(folder: Path) -> None:
    (folder / "state.db").unlink()
    with sqlite3.connect(folder / "state.db") as database:
        database.execute("CREATE TABLE somebody (elses TEXT)")
    database.close()


def _newer(folder: Path) -> None:
    with sqlite3.connect(folder / "state.db") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()


def _no_file(folder: Path) -> None:
    (folder / "state.db").unlink()
    (folder / "state.db").mkdir()


def _overwritten(folder: Path) -> None:
    (folder / "state.db").write_bytes(b"somebody's notes\n" * 500)


def _damaged(folder: Path) -> None:
    content = bytearray((folder / "state.db").read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    (folder / "state.db").write_bytes(content)


def _changed_entry(folder: Path) -> None:
    with sqlite3.connect(folder / "state.db") as database:
        database.execute("UPDATE kept SET value = 'x' WHERE of = 'cards'")
    database.close()


def _without_key(folder: Path) -> None:
    (folder / "state.key").unlink()


def _with_another_key(folder: Path) -> None:
    (folder / "other").mkdir()
    with KeptState.open(folder / "other"):
        shutil.copy(folder / "other" / "state.key", folder / "state.key")


@pytest.mark.parametrize(
    ("happens", "error"),
    [
        (_foreign, "is not a sandbox's"),
        (_newer, "was written by a newer d1-gateway"),
        (_no_file, "cannot be used: unable to open database file"),
        (_overwritten, "cannot be used: file is not a database"),
        (_damaged, "state.db"),
        (_changed_entry, "an entry of cards is damaged"),
        (_without_key, "state.key is missing"),
        (_with_another_key, "state.key is not its key"),
    ],
)
async def test_a_state_that_cannot_be_used_is_refused_with_what_to_do(
    happens: Callable[[Path], None], error: str, tmp_path: Path
) -> None:
    async with kept(tmp_path) as sandbox:
        sandbox.store.register("card_1", _details("consumer_1", _PAN))
    happens(tmp_path)

    with pytest.raises(StateError, match=error) as refused:
        async with kept(tmp_path):
            pass
    assert any(way in str(refused.value) for way in ("--fresh begins anew", "choose another folder"))


async def test_a_change_that_cannot_be_written_is_refused_with_the_reason_and_did_not_happen(tmp_path: Path) -> None:
    with KeptState.open(tmp_path) as state:
        async with Sandbox.start(tmp_path / "keys", state=state) as sandbox:
            state._database.execute("PRAGMA max_page_count = 1")
            add = f"{sandbox.control_url}/sandbox/consumers"
            told, number = "", 0
            async with aiohttp.ClientSession() as session:
                # The last page has room for some.
                while not told:
                    number += 1
                    async with session.post(add, json={"consumerId": f"consumer_{number}"}) as response:
                        told = await response.text()
            ids = sandbox.store.consumer_ids()

    assert response.status == 507
    assert json.loads(told)["error"].startswith("state.db cannot be written: database or disk is full")
    async with kept(tmp_path) as again:
        assert again.store.consumer_ids() == ids


_STEPS: tuple[tuple[str, Callable[[CardStore], object]], ...] = (
    ("NEW.of = 'used_pans'", lambda store: store.replace("card_1", Credentials(_NEW_PAN, "1235"), None)),
    ("NEW.of = 'used_pans'", lambda store: store.replace("card_1", Credentials(_NEW_PAN, "1235"), "card_2")),
    ("NEW.name = 'card_2'", lambda store: store.renew("card_1", None, "card_2")),
    ("NEW.name = 'consumer_2'", lambda store: store.register("card_2", _details("consumer_2", _NEW_PAN))),
    ("NEW.name = 'card_1'", lambda store: store.delete_consumer("consumer_1")),
)


@pytest.mark.parametrize(("second", "step"), _STEPS)
async def test_a_change_of_several_entries_whose_second_write_fails_did_not_happen_at_all(
    second: str, step: Callable[[CardStore], object], tmp_path: Path
) -> None:
    with KeptState.open(tmp_path) as state:
        async with Sandbox.start(tmp_path / "keys", state=state) as sandbox:
            store = sandbox.store
            store.register("card_1", _details("consumer_1", _PAN))
            before = store.cards(), store.consumer_ids()
            state._database.execute(
                f"CREATE TRIGGER fails BEFORE INSERT ON kept WHEN {second} "
                "BEGIN SELECT RAISE(ABORT, 'the disk is gone'); END"
            )
            with pytest.raises(StateError, match="the disk is gone"):
                step(store)
            assert (store.cards(), store.consumer_ids()) == before
            state._database.execute("DROP TRIGGER fails")
            with KeptState.open(tmp_path) as written:
                kept_store = CardStore(PRODUCTS, written)
                assert (kept_store.cards(), kept_store.consumer_ids()) == before
            step(store)
            assert (store.cards(), store.consumer_ids()) != before


def test_kept_keys_are_renewed_in_time_and_made_again_if_their_making_was_interrupted(tmp_path: Path) -> None:
    kept_for_a_year = kept_pki(tmp_path / "keys").server_ca.read_bytes()
    assert kept_pki(tmp_path / "keys").server_ca.read_bytes() == kept_for_a_year
    make_pki(tmp_path / "keys.new")
    shutil.rmtree(tmp_path / "keys")
    made_again = kept_pki(tmp_path / "keys").server_ca.read_bytes()
    make_pki(tmp_path / "keys", timedelta(days=20))
    ends_soon = (tmp_path / "keys" / "server-ca.pem").read_bytes()

    assert len({kept_for_a_year, made_again, ends_soon, kept_pki(tmp_path / "keys").server_ca.read_bytes()}) == 4


@pytest.mark.parametrize("content", [None, b"", b"{", b"-----BEGIN CERTIFICATE-----"])
@pytest.mark.parametrize("name", ["caller.pem", "edge-server-key.pem", "caller-ca.pem", "assertion.jwk.json"])
def test_kept_keys_are_made_again_if_one_is_missing_or_damaged(
    name: str, content: bytes | None, tmp_path: Path
) -> None:
    before = kept_pki(tmp_path / "keys").server_ca.read_bytes()
    damaged = tmp_path / "keys" / name
    damaged.unlink()
    if content is not None:
        damaged.write_bytes(content)

    pki = kept_pki(tmp_path / "keys")

    assert damaged.stat().st_size > 100
    assert pki.server_ca.read_bytes() != before
    assert kept_pki(tmp_path / "keys").server_ca.read_bytes() != before, "once"


async def _start(folder: Path, *, port_base: int = 0, fresh: bool = False, fixtures: Path | None = None) -> str:
    """Start where it must fail, and return why it does."""
    choices = Choices(folder, port_base, fresh=fresh, fixtures=fixtures, handler=True)
    with pytest.raises(PlaygroundError) as refused:
        await playground(Console(quiet=True), choices)
    return "\n".join(refused.value.args)


async def test_a_port_that_is_taken_is_named_with_what_to_do(tmp_path: Path) -> None:
    ports = free_ports(6)
    while ports[-1] - ports[0] != 5:
        ports = free_ports(6)
    with socket.create_server(("127.0.0.1", ports[2])):
        error = await _start(tmp_path, port_base=ports[0])

    assert error.startswith(f"port {ports[2]} (3-D Secure server) is taken: ")
    assert "--port-base" in error


@pytest.mark.skipif(
    int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 443, reason="any user may have any port"
)
def test_a_port_that_the_user_may_not_have_is_not_said_to_be_taken() -> None:
    user = os.geteuid()
    # For root: without its privileges.
    os.seteuid(user or 65_534)
    try:
        with pytest.raises(PlaygroundError, match=r"^port 443 \(control API\) cannot be used: Permission denied"):
            Ports.of(443)
    finally:
        os.seteuid(user)


async def test_one_sandbox_at_a_time_uses_a_folder(tmp_path: Path) -> None:
    with use_folder(tmp_path / "d1-sandbox", fresh=False) as folder:
        for fresh in (False, True):
            error = await _start(folder, fresh=fresh)
            assert f"{folder} is used by another sandbox, process {os.getpid()}: " in error
    with use_folder(folder, fresh=False):
        pass


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize(
    ("name", "text"), [("thesis.txt", "precious"), ("sandbox.lock", "precious"), ("sandbox.lock", "")]
)
async def test_a_folder_that_is_not_a_sandboxs_is_refused_and_left_as_it_was(
    name: str,
    text: str,
    fresh: bool,  # noqa: FBT001 (a parameter of the test)
    tmp_path: Path,
) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / "keys").mkdir()

    assert "not a sandbox's" in await _start(tmp_path, fresh=fresh)

    assert _names(tmp_path) == {name, "keys"}
    assert (tmp_path / name).read_text() == text


async def test_a_file_or_an_unwritable_folder_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    assert f"{tmp_path / 'file'}: File exists" in await _start(tmp_path / "file")
    assert "choose another with --folder" in await _start(tmp_path / "file" / "below")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder to another user")
async def test_a_folder_that_belongs_to_another_user_is_refused(tmp_path: Path) -> None:
    with use_folder(tmp_path / "d1-sandbox", fresh=False) as folder:
        pass
    os.chown(folder, 65_534, -1)

    assert await _start(folder) == f"{folder} belongs to another user: choose another with --folder"


async def test_a_fresh_beginning_deletes_what_sandboxes_made_and_nothing_else(tmp_path: Path) -> None:
    with use_folder(tmp_path, fresh=False):
        async with kept(tmp_path) as sandbox:
            sandbox.store.register("card_1", _details("consumer_1", _PAN))
    own = {"thesis.txt", "sandbox.py", "sandbox.env.sh", "d1-gateway.toml.bak", "d1-gateway.db.export"}
    for name in own | {"d1-gateway.db-wal", "d1-gateway.db.key", "sandbox.json.new"}:
        (tmp_path / name).write_text("precious")

    with use_folder(tmp_path, fresh=True):
        assert _names(tmp_path) == {"sandbox.lock", *own}
        async with kept(tmp_path) as sandbox:
            assert sandbox.store.cards() == ()


def _sample(change: Callable[[dict[str, Any]], object]) -> str:
    fixtures = json.loads(SAMPLE.read_text())
    change(fixtures)
    return json.dumps(fixtures)


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("{", ["the file: Invalid JSON"]),
        ("[]", ["the file: Input should be an object"]),
        (_sample(lambda it: it.update(card=[])), ["card: Extra inputs are not permitted"]),
        (_sample(lambda it: it["cards"][1].pop("consumer_id")), ["cards[1].consumer_id: Field required"]),
        (
            _sample(lambda it: it["cards"][0]["credentials"].update(pan="3141592653589793238462")),
            ["cards[0].credentials.pan: expected 10 to 19 digits"],
        ),
        (
            _sample(lambda it: it["cards"][0]["credentials"].update(expiry="1231")),
            ["cards[0].credentials.expiry: Input should be an object"],
        ),
        (
            _sample(lambda it: it["cards"][0].update(card_product_id="gold", card_id="a b")),
            [
                "cards[0].card_id: expected 1 to 48 characters",
                "cards[0].card_product_id: expected light or light-transacting",
            ],
        ),
        (
            _sample(
                lambda it: it["consumers"][1]["personal_information"]["mobile_phone_number"].update(country_code="44")
            ),
            ["consumers[1].personal_information: country_code is missing or malformed"],
        ),
        (
            _sample(lambda it: it["cards"][1]["credentials"].update(pan=_PAN)),
            ["cards[1].credentials.pan: is in the file twice"],
        ),
        (
            _sample(lambda it: it["authenticators"].append({"consumer_id": "nobody", "app_instance_id": "app_3"})),
            ["authenticators[2].consumer_id: is no consumer", "nothing of the file was added"],
        ),
    ],
)
async def test_fixtures_that_do_not_fit_are_refused_by_field_and_without_their_values(
    text: str, mistakes: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "fixtures.json"
    file.write_text(text)

    said = (await _start(tmp_path / "d1-sandbox", fixtures=file)).splitlines()

    assert len(said) == len(mistakes)
    for line, mistake in zip(said, mistakes, strict=True):
        assert mistake in line
        assert "31415926" not in line


async def test_fixtures_add_what_is_missing_and_change_nothing_that_is_there(tmp_path: Path) -> None:
    sample = Fixtures.read(SAMPLE)
    async with kept(tmp_path) as sandbox:
        sample.register(sandbox)
        sample.enrol(sandbox)
        sandbox.store.suspend("card_1", SuspendReason.USER_DECISION)
        sandbox.store.delete("card_2")
        before = sandbox.store.cards(), sandbox.authenticators.all()
        sample.register(sandbox)
        sample.enrol(sandbox)

        assert (sandbox.store.cards(), sandbox.authenticators.all()) == before
        assert before[1] == {"app_1": "consumer_1", "app_2": "consumer_2"}
        assert sandbox.store.card("card_1").state is CardState.SUSPENDED
        person = sandbox.store.personal_information("consumer_2")
        assert person is not None
        assert (person.language, person.phone) == ("en-GB", "+447700900222")


async def test_fixtures_that_d1_refuses_leave_nothing_and_the_mended_file_changes_all_of_it(tmp_path: Path) -> None:
    file = tmp_path / "fixtures.json"
    pans = [Fixtures.read(SAMPLE).cards[1].credentials.pan, _CHALLENGED]
    file.write_text(
        _sample(lambda it: [each["credentials"].update(pan=pan) for each, pan in zip(it["cards"], pans, strict=True)])
    )
    async with kept(tmp_path) as sandbox:
        sandbox.store.register("card_0", _details("consumer_0", _CHALLENGED))
        with pytest.raises(PlaygroundError) as refused:
            Fixtures.read(file).register(sandbox)
        assert refused.value.args[0] == "--fixtures: cards[1]: Card number is in use or may not be used again"
        assert (sandbox.store.consumer_ids(), len(sandbox.store.cards())) == (("consumer_0",), 1)

    async with kept(tmp_path) as again:
        assert again.store.consumer_ids() == ("consumer_0",)
        # Its second card has the number that the first card had in the file that was refused.
        Fixtures.read(SAMPLE).register(again)
        assert [card.card_id for card in again.store.cards()] == ["card_0", "card_1", "card_2"]


async def test_a_missing_fixtures_file_is_named(tmp_path: Path) -> None:
    error = await _start(tmp_path, fixtures=tmp_path / "nowhere.json")
    assert error == f"--fixtures: {tmp_path / 'nowhere.json'}: No such file or directory"
