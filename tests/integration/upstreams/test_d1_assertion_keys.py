"""Two assertion keys while one is replaced: whichever D1 takes signs, in whatever order the two sides change."""

import asyncio
from dataclasses import dataclass, field

import pytest
from joserfc.jwk import ECKey
from jwcrypto import jwk as oracle_jwk  # type: ignore[import-untyped]
from jwcrypto import jws as oracle_jws
from structlog.testing import capture_logs

from tests.integration.upstreams.fake_d1 import FakeD1, tokens_at
from tests.integration.upstreams.fake_upstream import ISSUER, Reply, Seen, failure_of, kind_of, reply

OLD = ECKey.generate_key("P-256", {"kid": "old"})
NEW = ECKey.generate_key("P-256", {"kid": "new"})
OTHER_ISSUER = "ISSUER0002"


@dataclass(slots=True)
class Registrar:
    """D1's token endpoint: takes assertions of the keys that are registered, and whatever fails besides."""

    d1: FakeD1
    registered: list[ECKey]
    refusal: int = 401
    kids: list[str] = field(default_factory=list)
    """Of the assertions that arrived."""
    failures: list[int] = field(default_factory=list)
    """The statuses of the next responses, before anything is checked; 0 to check."""

    async def answer(self, request: Seen) -> Reply:
        jws = oracle_jws.JWS()
        jws.deserialize(request.form()["assertion"][0])
        self.kids.append(str(jws.jose_header["kid"]))
        if self.failures and (status := self.failures.pop(0)):
            return reply(status=status)
        for key in self.registered:
            if key.kid == self.kids[-1]:
                jws.verify(oracle_jwk.JWK(**key.as_dict(private=False)))
                return await self.d1.issue_token(request)
        return reply({"error": "invalid_grant"}, self.refusal)


@pytest.fixture
def registrar(d1: FakeD1) -> Registrar:
    made = Registrar(d1, [OLD])
    d1.token_reply = made.answer
    return made


@pytest.mark.parametrize("refusal", [400, 401])
async def test_a_key_that_d1_does_not_know_yet_is_replaced_by_the_other_in_the_same_fetch(
    d1: FakeD1, registrar: Registrar, refusal: int
) -> None:
    registrar.refusal = refusal
    async with tokens_at(d1, NEW, OLD) as tokens:
        assert await tokens.get() == d1.tokens[0]

    assert registrar.kids == ["new", "old"]


async def test_the_key_that_d1_took_is_remembered_and_logged_once(d1: FakeD1, registrar: Registrar) -> None:
    async with tokens_at(d1, NEW, OLD) as tokens:
        with capture_logs() as logged:
            await tokens.get()
            for _ in range(3):
                await tokens.renew()

    assert registrar.kids == ["new", "old", "old", "old", "old"]
    assert logged == [
        {
            "event": "assertion_key_switched",
            "log_level": "warning",
            "issuer_id": ISSUER,
            "kid": "old",
            "refused_kid": "new",
        }
    ]


async def test_a_key_that_d1_forgets_while_we_run_is_replaced_by_the_other(d1: FakeD1, registrar: Registrar) -> None:
    registrar.registered = [OLD, NEW]
    async with tokens_at(d1, OLD, NEW) as tokens:
        await tokens.renew()
        registrar.registered = [NEW]
        await tokens.renew()
        await tokens.renew()

    assert registrar.kids == ["old", "old", "old", "new", "new"]


async def test_a_rotation_that_is_taken_back_is_followed_back(d1: FakeD1, registrar: Registrar) -> None:
    async with tokens_at(d1, NEW, OLD) as tokens:
        await tokens.renew()
        registrar.registered = [NEW]
        await tokens.renew()
        registrar.registered = [OLD]
        await tokens.renew()

    assert registrar.kids == ["new", "old", "old", "old", "new", "new", "old"]


async def test_the_order_of_the_settings_stays_while_d1_takes_both(d1: FakeD1, registrar: Registrar) -> None:
    registrar.registered = [OLD, NEW]
    async with tokens_at(d1, NEW, OLD) as tokens:
        with capture_logs() as logged:
            await tokens.renew()

    assert registrar.kids == ["new", "new"]
    assert logged == []


async def test_each_issuer_remembers_for_itself(d1: FakeD1, registrar: Registrar) -> None:
    async with tokens_at(d1, NEW, OLD, issuers=(ISSUER, OTHER_ISSUER)) as tokens:
        await tokens.get()
        await tokens.get(OTHER_ISSUER)

    assert registrar.kids == ["new", "old", "new", "old"]


async def test_two_refused_keys_are_each_tried_once_and_the_next_fetch_begins_with_the_first(
    d1: FakeD1, registrar: Registrar
) -> None:
    registrar.registered = []
    async with tokens_at(d1, NEW, OLD) as tokens:
        for _ in range(2):
            assert kind_of(await failure_of(tokens.get())) == ("UPSTREAM_AUTHENTICATION", "NOT_SENT")

    assert registrar.kids == ["new", "old"] * 2


@pytest.mark.parametrize("status", [403, 404])
async def test_another_refusal_says_nothing_about_the_key(d1: FakeD1, registrar: Registrar, status: int) -> None:
    registrar.failures = [status]
    async with tokens_at(d1, NEW, OLD) as tokens:
        await failure_of(tokens.get())

    assert registrar.kids == ["new"]


async def test_a_d1_that_is_busy_when_the_second_key_is_tried_gets_both_again(d1: FakeD1, registrar: Registrar) -> None:
    registrar.failures = [0, 503]
    async with tokens_at(d1, NEW, OLD) as tokens:
        assert await tokens.get() == d1.tokens[0]

    assert registrar.kids == ["new", "old", "new", "old"]


async def test_an_early_refresh_changes_the_key_while_the_token_of_before_serves(
    d1: FakeD1, registrar: Registrar
) -> None:
    async with tokens_at(d1, OLD, NEW) as tokens:
        before = await tokens.get()
        registrar.registered = [NEW]
        tokens.clock.now += 0.9 * 900

        served = [await tokens.get()]
        async with asyncio.timeout(30):
            while len(d1.tokens) < 2:
                served.append(await tokens.get())
                await asyncio.sleep(0.01)

    assert set(served) == {before}
    assert registrar.kids == ["old", "old", "new"]
