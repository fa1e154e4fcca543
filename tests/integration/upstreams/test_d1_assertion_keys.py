"""Two assertion keys while one is replaced: whichever D1 takes signs, in whatever order the two sides change."""

import asyncio
from dataclasses import dataclass, field

import pytest
from joserfc.jwk import ECKey
from jwcrypto import jwk as oracle_jwk  # type: ignore[import-untyped]
from jwcrypto import jws as oracle_jws
from structlog.testing import capture_logs

from tests.integration.upstreams.fake_d1 import OTHER_ISSUER, FakeD1, tokens_at
from tests.integration.upstreams.fake_upstream import ISSUER, Reply, Seen, failure_of, kind_of, reply

OLD = ECKey.generate_key("P-256", {"kid": "old"})
NEW = ECKey.generate_key("P-256", {"kid": "new"})


@dataclass(slots=True)
class Registrar:
    """D1's token endpoint: takes assertions of the keys that are registered, and whatever fails besides."""

    d1: FakeD1
    registered: list[ECKey]
    kids: list[str] = field(default_factory=list)
    """Of the assertions that arrived."""
    statuses: list[int] = field(default_factory=list)
    """Of the next responses, whatever arrives."""

    async def answer(self, request: Seen) -> Reply:
        jws = oracle_jws.JWS()
        jws.deserialize(request.form()["assertion"][0])
        self.kids.append(str(jws.jose_header["kid"]))
        if self.statuses:
            return reply(status=self.statuses.pop(0))
        for key in self.registered:
            if key.kid == self.kids[-1]:
                jws.verify(oracle_jwk.JWK(**key.as_dict(private=False)))
                return await self.d1.issue_token(request)
        return reply({"error": "invalid_grant"}, 401)


@pytest.fixture
def registrar(d1: FakeD1) -> Registrar:
    made = Registrar(d1, [OLD])
    d1.token_reply = made.answer
    return made


@pytest.mark.parametrize(
    ("statuses", "kids"),
    [
        ([400], ["new", "old"]),
        ([401], ["new", "old"]),
        # Says nothing about the key.
        ([403], ["new"]),
        ([404], ["new"]),
        # A D1 that is busy when the second key is tried gets both again.
        ([401, 503], ["new", "old", "new", "old"]),
    ],
)
async def test_the_second_key_is_tried_in_the_same_fetch_if_d1_refuses_the_first(
    d1: FakeD1, registrar: Registrar, statuses: list[int], kids: list[str]
) -> None:
    registrar.statuses = statuses
    async with tokens_at(d1, NEW, OLD) as tokens:
        await asyncio.gather(tokens.get(), return_exceptions=True)

    assert registrar.kids == kids
    assert len(d1.tokens) == (kids[-1] == "old")


@pytest.mark.parametrize(
    ("signers", "registered", "kids", "switched_to"),
    [
        ([NEW, OLD], [[OLD]] * 3, "new old old, old, old", ["old"]),
        ([OLD, NEW], [[OLD, NEW], [NEW], [NEW]], "old old, old new, new", ["new"]),
        ([NEW, OLD], [[OLD], [NEW], [OLD]], "new old old, old new, new old", ["old", "new", "old"]),
        ([NEW, OLD], [[OLD, NEW]], "new new", []),
    ],
    ids=["not known yet", "forgotten while we run", "a rotation that is taken back", "both taken"],
)
async def test_the_key_that_d1_took_is_remembered_and_logged_once(
    d1: FakeD1,
    registrar: Registrar,
    signers: list[ECKey],
    registered: list[list[ECKey]],
    kids: str,
    switched_to: list[str],
) -> None:
    with capture_logs() as logged:
        async with tokens_at(d1, *signers) as tokens:
            for registrar.registered in registered:
                await tokens.renew()

    assert registrar.kids == kids.replace(",", "").split()
    entry = {"event": "assertion_key_switched", "log_level": "warning", "issuer_id": ISSUER}
    refused = {"old": "new", "new": "old"}
    assert logged == [entry | {"kid": kid, "refused_kid": refused[kid]} for kid in switched_to]


async def test_each_issuer_remembers_for_itself(d1: FakeD1, registrar: Registrar) -> None:
    async with tokens_at(d1, NEW, OLD) as tokens:
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
