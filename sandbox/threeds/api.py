"""/preauth, /auth and /postauth: messages are checked by the rule tables, and test cards select the response."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from aiohttp import web
from aiohttp.typedefs import Handler

from sandbox.threeds.cards import Card, End, Outcome, card_of
from sandbox.threeds.contract import STATUS_MALFORMED, UNKNOWN_BIN, VERSIONS, Delays, Operation, Path
from sandbox.threeds.encoding import DuplicateNameError, parse
from sandbox.threeds.errors import ErroError
from sandbox.threeds.messages import make_ares, make_crd
from sandbox.threeds.store import Transactions
from sandbox.threeds.transaction import FAILED, PASSED, Authentication, Phase, Transaction, Verdict
from sandbox.threeds.validation import Scene, scene_of, validate

__all__ = ["ServerEndpoints"]

_Message: TypeAlias = dict[str, Any]
_Action: TypeAlias = Callable[[web.Request, _Message], Awaitable[Mapping[str, Any]]]

_NO_SCENE = Scene(VERSIONS[-1])
"""For messages whose rules are the same in every version."""

_BROWSER = "02"
_WITH_CHALLENGES = ("01", _BROWSER)
_DEFAULT_SCHEME = "standin"

_REASONS: Mapping[str, str] = {"N": "01", "R": "11", "U": "14"}
"""The ``transStatusReason`` of each status that requires one."""
_NOT_REQUESTED = Verdict("U", reason="23")
"""The ACS offers decoupled authentication only, but the AReq does not request it."""
_TOO_LATE = Verdict("U", reason="24")
"""No decision within the time that the AReq allows."""


class ServerEndpoints:
    """The 3DS server's endpoints."""

    def __init__(self, transactions: Transactions, delays: Delays) -> None:
        self._transactions = transactions
        self._delays = delays
        self.on_authentication: Callable[[Mapping[str, Any], Mapping[str, Any]], None] = lambda _, __: None
        """Called with each AReq, and the ARes or Erro that answers it."""

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, each named after its operation."""
        return [
            web.post(Path.PREAUTH, _endpoint(self._preauth, None), name=Operation.PREAUTH.value),
            web.post(Path.AUTH, _endpoint(self._told_auth, "AReq"), name=Operation.AUTH.value),
            web.post(Path.POSTAUTH, _endpoint(self._postauth, None), name=Operation.POSTAUTH.value),
        ]

    async def _preauth(self, request: web.Request, body: _Message) -> Mapping[str, Any]:
        validate(body, "PreAuth", _NO_SCENE)
        pan = body["acctNumber"]
        if pan == UNKNOWN_BIN:
            raise ErroError("305", "Unknown BIN")
        transaction = self._transactions.open(pan, _card(pan), body.get("ds", _DEFAULT_SCHEME))
        return make_crd(transaction, _url(request, Path.THREE_DS_METHOD))

    async def _told_auth(self, request: web.Request, areq: _Message) -> Mapping[str, Any]:
        try:
            ares = await self._auth(request, areq)
        except ErroError as error:
            self.on_authentication(areq, error.body(areq, "AReq"))
            raise
        self.on_authentication(areq, ares)
        return ares

    async def _auth(self, request: web.Request, areq: _Message) -> Mapping[str, Any]:
        scene = scene_of(areq, VERSIONS)
        validate(areq, "AReq", scene)
        if any(extension["criticalityIndicator"] for extension in areq.get("messageExtension", ())):
            raise ErroError("202", "messageExtension")
        card = _card(areq["acctNumber"])
        _check_suits(card, scene)
        transaction = self._transaction(areq, card)
        authentication = _authentication(areq)
        verdict = self._answer(transaction, authentication, areq)
        if verdict is None:
            await asyncio.sleep(self._delays.connection_timeout_seconds)
            raise ErroError("405", "Connection timeout")
        return make_ares(transaction, authentication, verdict, _url(request, Path.CHALLENGE))

    async def _postauth(self, request: web.Request, body: _Message) -> Mapping[str, Any]:
        del request
        validate(body, "PostAuth", _NO_SCENE)
        transaction = self._transactions.find(body["threeDSServerTransID"])
        if transaction is None:
            raise ErroError("203", "Unknown threeDSServerTransID")
        if transaction.rreq is None:
            raise ErroError("305", "No RReq has been received")
        return transaction.rreq

    def _transaction(self, areq: _Message, card: Card) -> Transaction:
        """Return the AReq's transaction. Without a browser /preauth is optional, and the AReq begins it."""
        trans_id, pan = areq["threeDSServerTransID"], areq["acctNumber"]
        transaction = self._transactions.find(trans_id)
        if transaction is None:
            if areq["deviceChannel"] == _BROWSER:
                raise ErroError("301", "threeDSServerTransID is not from /preauth, or expired")
            return self._transactions.open(pan, card, areq.get("ds", _DEFAULT_SCHEME), trans_id)
        if transaction.phase is not Phase.LOOKED_UP:
            raise ErroError("301", "threeDSServerTransID has been used")
        if transaction.pan != pan:
            raise ErroError("305", "acctNumber differs from /preauth")
        return transaction

    def _answer(self, transaction: Transaction, of: Authentication, areq: _Message) -> Verdict | None:
        """Decide on an AReq; None if the directory server does not respond."""
        outcome = transaction.card.outcome
        if outcome.status == "C":
            self._transactions.challenge(transaction, of)
            return Verdict("C")
        if outcome.status == "D" and areq.get("threeDSRequestorDecReqInd", "N") != "N":
            seconds, result = self._decoupled(outcome, 60.0 * int(areq["threeDSRequestorDecMaxTime"]))
            self._transactions.decouple(transaction, of, seconds, result)
            return Verdict("D")
        self._transactions.answer(transaction, of)
        if outcome.status is None:
            return None
        return _NOT_REQUESTED if outcome.status == "D" else Verdict(outcome.status, _REASONS.get(outcome.status))

    def _decoupled(self, outcome: Outcome, seconds_given: float) -> tuple[float, Verdict]:
        if outcome.end is End.ASKS or self._delays.decoupled_seconds > seconds_given:
            return seconds_given, _TOO_LATE
        return self._delays.decoupled_seconds, PASSED if outcome.end is End.PASSES else FAILED


def _endpoint(act: _Action, message_type: str | None) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        message: _Message = {}
        try:
            message = _parsed(request, await request.read())
            return web.json_response(await act(request, message))
        except ErroError as error:
            return web.json_response(error.body(message, message_type), status=error.status)

    return handle


def _parsed(request: web.Request, body: bytes) -> _Message:
    if request.content_type != "application/json":
        raise ErroError("101", "Content-Type must be application/json", status=STATUS_MALFORMED)
    try:
        return parse(body)
    except DuplicateNameError as error:
        raise ErroError("204", str(error)) from None
    except ValueError:
        raise ErroError("101", "The body is not a JSON object", status=STATUS_MALFORMED) from None


def _card(pan: str) -> Card:
    card = card_of(pan)
    if card is None:
        raise ErroError("203", "acctNumber is not a test card")
    return card


def _check_suits(card: Card, scene: Scene) -> None:
    if scene.version not in card.versions:
        raise ErroError("102", "messageVersion is not supported for this acctNumber", component="D")
    if not card.outcome.exists_in(scene.version):
        raise ErroError("305", "messageVersion does not support the outcome of this acctNumber")
    if card.outcome.status == "C" and scene.channel not in _WITH_CHALLENGES:
        raise ErroError("305", "deviceChannel does not support the challenge of this acctNumber")


def _authentication(areq: _Message) -> Authentication:
    return Authentication(
        version=areq["messageVersion"],
        channel=areq["deviceChannel"],
        category=areq["messageCategory"],
        notification_url=areq.get("notificationURL"),
        sdk_trans_id=areq.get("sdkTransID"),
        acs_trans_id=str(uuid.uuid4()),
        ds_trans_id=str(uuid.uuid4()),
    )


def _url(request: web.Request, path: Path) -> str:
    return str(request.url.origin()) + path
