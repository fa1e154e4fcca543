from pathlib import Path

import pytest
import structlog
from grpc_reflection.v1alpha import reflection

from gateway.auth.caller import Caller
from gateway.auth.grant import Grant
from gateway.auth.policy import Policy, Vocabulary, rpcs_of
from gateway.auth.policy_file import PolicyFile
from gateway.grpc_api.server import SERVICES
from gateway.settings import SettingsError
from issuer.card.v1 import service_pb2 as card_service
from issuer.notification.v1 import service_pb2 as notification_service
from tests.unit.auth.auth_tokens import until

CREATE = "/issuer.card.v1.CardService/CreateCard"
DELETE = "/issuer.card.v1.CardService/DeleteCard"
WATCH = "/issuer.notification.v1.NotificationService/WatchNotifications"
REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
ONE, TWO = "ISSUER0001", "ISSUER0002"
PLACE = Path("policy.toml")
VOCABULARY = Vocabulary(
    rpcs_of(
        [
            card_service.DESCRIPTOR.services_by_name["CardService"].full_name,
            notification_service.DESCRIPTOR.services_by_name["NotificationService"].full_name,
            reflection.SERVICE_NAME,
        ]
    ),
    (ONE, TWO),
)
DOCUMENT = f"""
[[callers]]
identity = "spiffe://bank/card-service"
grants = [
    {{ rpcs = ["issuer.card.v1.CardService/*"], issuers = ["{ONE}"] }},
    {{ rpcs = ["issuer.card.v1.CardService/CreateCard"], issuers = ["{TWO}"] }},
]

[[callers]]
identity = "spiffe://bank/*"
grants = [{{ rpcs = ["issuer.notification.v1.NotificationService/WatchNotifications"], issuers = ["*"] }}]

[[callers]]
identity = "spiffe://bank/ops/*"
grants = [{{ rpcs = ["issuer.card.v1.CardService/DeleteCard"], issuers = ["{TWO}"] }}]

[[callers]]
identity = "dns:admin.bank"
grants = [{{ rpcs = ["*"], issuers = ["*"] }}]

[[callers]]
identity = "jwt:batch"
grants = [
    {{ rpcs = ["issuer.card.v1.CardService/DeleteCard"], issuers = ["{ONE}"] }},
    {{ rpcs = ["*"], issuers = ["*"] }},
]
"""
POLICY = Policy.parse(DOCUMENT.encode(), PLACE, VOCABULARY)
ALL = None
NOTHING = "nothing"


@pytest.mark.parametrize(
    ("identity", "rpc", "issuers"),
    [
        ("spiffe://bank/card-service", CREATE, {ONE, TWO}),
        ("spiffe://bank/card-service", DELETE, {ONE}),
        ("spiffe://bank/card-service", WATCH, ALL),
        ("spiffe://bank/card-service", REFLECT, NOTHING),
        ("spiffe://bank/another", WATCH, ALL),
        ("spiffe://bank/another", CREATE, NOTHING),
        ("spiffe://bank/ops/night", DELETE, {TWO}),
        ("spiffe://bank/ops/night", WATCH, ALL),
        ("spiffe://bank/ops", DELETE, NOTHING),
        ("spiffe://bank/opsx/night", DELETE, NOTHING),
        ("spiffe://bank.evil.example/card-service", CREATE, NOTHING),
        ("spiffe://bank.evil.example/card-service", WATCH, NOTHING),
        ("spiffe://bank/card-service2", CREATE, NOTHING),
        ("spiffe://bank/*", CREATE, NOTHING),
        ("spiffe://bank/", WATCH, NOTHING),
        ("jwt:spiffe://bank/card-service", CREATE, NOTHING),
        ("jwt:spiffe://bank/card-service", WATCH, NOTHING),
        ("jwt:dns:admin.bank", CREATE, NOTHING),
        ("dns:admin.bank", CREATE, ALL),
        ("dns:admin.bank", REFLECT, ALL),
        ("dns:admin.bank", "/issuer.card.v1.CardService/NoSuchRpc", NOTHING),
        ("dns:admin.bank", "/grpc.channelz.v1.Channelz/GetServers", NOTHING),
        ("dns:admin.bank", "", NOTHING),
        ("dns:x.admin.bank", CREATE, NOTHING),
        ("jwt:batch", DELETE, ALL),
        ("jwt:Batch", DELETE, NOTHING),
        ("", CREATE, NOTHING),
    ],
)
def test_a_caller_may_do_what_is_granted_and_no_more(identity: str, rpc: str, issuers: set[str] | str | None) -> None:
    caller = Caller(identity, "certificate")

    granted = POLICY.grant(caller, rpc)

    if issuers == NOTHING:
        assert granted is None
    else:
        assert granted == Grant(caller, rpc, None if issuers is ALL else frozenset(issuers))


def _callers(entry: str) -> str:
    return f"[[callers]]\n{entry}\n"


def _granting(rpcs: str = '["*"]', issuers: str = '["*"]', identity: str = "jwt:a") -> str:
    return _callers(f'identity = "{identity}"\ngrants = [{{ rpcs = {rpcs}, issuers = {issuers} }}]')


@pytest.mark.parametrize(
    ("document", "mistakes"),
    [
        ("", ["callers: Field required"]),
        ("callers = []", ["callers: List should have at least 1 item"]),
        ("[callers]", ["callers: Input should be a valid list"]),
        ("not toml", ["policy.toml: "]),
        (_granting() + "[defaults]\nallow = true\n", ["defaults: Extra inputs are not permitted"]),
        (_callers('identity = "jwt:a"'), ["callers.0.grants: Field required"]),
        (_callers('identity = "jwt:a"\ngrants = []'), ["callers.0.grants: List should have at least 1 item"]),
        (_callers("grants = []"), ["callers.0.identity: Field required", "callers.0.grants: List should have"]),
        (
            _granting().replace("issuers", "issuer"),
            ["callers.0.grants.0.issuers: ", "callers.0.grants.0.issuer: Extra"],
        ),
        (_granting() + 'admin = "yes"\n', ["callers.0.admin: Extra inputs are not permitted"]),
        (_granting(rpcs="[]"), ["callers.0.grants.0.rpcs: List should have at least 1 item"]),
        (_granting(issuers="[]"), ["callers.0.grants.0.issuers: List should have at least 1 item"]),
        (_granting(rpcs='"*"'), ["callers.0.grants.0.rpcs: Input should be a valid list"]),
        (_granting(issuers='"*"'), ["callers.0.grants.0.issuers: Input should be a valid list"]),
        (_granting(rpcs="[1]"), ["callers.0.grants.0.rpcs.0: Input should be a valid string"]),
        (_granting(rpcs='[""]'), ["callers.0.grants.0.rpcs.0: String should have at least 1 character"]),
        (
            _granting(rpcs='["*", "*"]'),
            ["callers.0.grants.0.rpcs: an entry is listed twice", "callers.0.grants.0.rpcs: * must"],
        ),
        (_granting(issuers=f'["*", "{ONE}"]'), ["callers.0.grants.0.issuers: * must"]),
        (_granting(issuers=f'["{ONE}", "{ONE}"]'), ["callers.0.grants.0.issuers: an entry is listed twice"]),
        (_granting(issuers='["ISSUER0009"]'), ["callers.0.grants.0.issuers: no issuer ISSUER0009 is configured"]),
        (_granting() + _granting(), ["callers.1.identity: jwt:a is listed twice"]),
        *[
            (_granting(rpcs=f'["{rpc}"]'), [f"callers.0.grants.0.rpcs: the gateway has no rpc {rpc}"])
            for rpc in (
                *("issuer.card.v1.CardService", "issuer.card.v1.CardService/", "issuer.card.v2.CardService/*"),
                *("issuer.card.v1.CardService/CreateCards", "issuer.card.v1.CardService/createcard"),
                *("issuer.card.v1.CardService/Create*", "issuer.card.v1.*", "issuer.*/*", "*/*", "**", "/*"),
                CREATE,
            )
        ],
        *[
            (_granting(identity=identity), ["callers.0.identity: String should match pattern"])
            for identity in (
                *("*", "card-service", "https://bank/a", "spiffe://*", "spiffe://bank", "spiffe://bank/a*"),
                *("spiffe://*/a", "spiffe://bank/*/a", "spiffe://bank//a"),
                *("dns:*", "dns:*.bank", "dns:Admin.bank", "dns:"),
                *("jwt:", "jwt:*", "jwt:a*", "jwt:/*", "jwt:a b", " jwt:a", "jwt:a "),
            )
        ],
    ],
)
def test_a_policy_with_mistakes_is_refused_with_the_place_of_each(document: str, mistakes: list[str]) -> None:
    with pytest.raises(SettingsError) as refused:
        Policy.parse(document.encode(), PLACE, VOCABULARY)

    found = refused.value.mistakes
    assert len(found) == len(mistakes)
    assert all(line.startswith(begin) for line, begin in zip(found, mistakes, strict=True))
    assert all("policy.toml" in line and "\n" not in line for line in found)


def test_a_policy_that_is_no_text_is_refused() -> None:
    with pytest.raises(SettingsError):
        Policy.parse(b"\xff\xfe", PLACE, VOCABULARY)


def test_a_policy_file_that_is_missing_or_wrong_is_refused_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    with pytest.raises(SettingsError, match="No such file"):
        PolicyFile(file, VOCABULARY)

    file.write_text("callers = 1")
    with pytest.raises(SettingsError, match=r"callers: .* \(.*policy\.toml\)"):
        PolicyFile(file, VOCABULARY)


async def test_a_policy_follows_its_file_and_outlasts_mistakes_in_it(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(DOCUMENT)
    policy = PolicyFile(file, VOCABULARY)
    batch = Caller("jwt:batch", "token")
    other = Caller("jwt:other", "token")

    async with policy.followed(0.01):
        with structlog.testing.capture_logs() as lines:
            file.write_text(_granting(rpcs='["no.such.Service/*"]', identity="jwt:other"))
            await until(lambda: len(lines) == 1)
            assert lines[0]["mistakes"] == [
                f"callers.0.grants.0.rpcs: the gateway has no rpc no.such.Service/* ({file})"
            ]
            assert policy.grant(batch, CREATE) is not None

            file.unlink()
            await until(lambda: len(lines) == 2)
            assert lines[1]["mistakes"] == ["No such file or directory"]
            assert policy.grant(batch, CREATE) is not None

        file.write_text(_granting(identity="jwt:other"))
        await until(lambda: policy.grant(other, CREATE) is not None)
        assert policy.grant(batch, CREATE) is None


_ROOT = Path(__file__).parents[3]
_ON_THE_PAGE = (_ROOT / "docs" / "access.md").read_text().partition("## The policy\n\n```toml\n")[2].partition("```")[0]
_OF_NOTIFICATIONS = rpcs_of(["issuer.notification.v1.NotificationService"])
_FOR_KUBERNETES = (_ROOT / "deploy" / "kubernetes" / "base" / "policy.toml").read_text()


@pytest.mark.parametrize(
    ("document", "watcher", "operator"),
    [
        (_ON_THE_PAGE, "spiffe://bank/fraud/scoring", "spiffe://bank/operators"),
        (_FOR_KUBERNETES, "spiffe://bank.example/audit", "spiffe://bank.example/operators"),
    ],
    ids=["page", "Kubernetes"],
)
def test_the_examples_let_operators_act_on_all_watchers_and_watchers_only_watch(
    document: str, watcher: str, operator: str
) -> None:
    policy = Policy.parse(document.encode(), PLACE, Vocabulary(rpcs_of(SERVICES), (ONE,)))
    granted = {
        identity: {rpc.rpartition("/")[2] for rpc in _OF_NOTIFICATIONS if policy.grant(Caller(identity, "token"), rpc)}
        for identity in (watcher, operator)
    }

    act_on_all = {"ResetSubscription", "DeleteSubscription", "BackfillNotifications"}
    assert granted[operator] - granted[watcher] == act_on_all
    assert "WatchNotifications" in granted[watcher]
