"""The ACS's pages for browsers: 3DS Method and challenge. Each ends with a form that the browser posts."""

import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from html import escape
from itertools import cycle
from typing import Any, TypeAlias

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.threeds.rules.formats import FORMATS
from sandbox.threeds.cards import End, Method
from sandbox.threeds.contract import SESSION_DATA_MAX, STATUS_MALFORMED, VERSIONS, Operation, Path
from sandbox.threeds.encoding import decode, encode
from sandbox.threeds.errors import ErroError
from sandbox.threeds.messages import make_cres
from sandbox.threeds.store import Transactions
from sandbox.threeds.transaction import FAILED, PASSED, Authentication, Phase, Transaction, Verdict
from sandbox.threeds.validation import Scene, validate

__all__ = ["PAGE_STYLE", "AcsEndpoints"]

PAGE_STYLE = (
    ":root{color-scheme:light dark;font:14px/1.45 system-ui,sans-serif}*{box-sizing:border-box}"
    "body{margin:0;padding:.75rem 1rem}h1{font-size:1.05rem;margin:0 0 .4rem}p{margin:0 0 .6rem}"
    "form{align-items:center;display:flex;flex-wrap:wrap;gap:.5rem}"
    "button,input{font:inherit;min-height:2.25rem;padding:.3rem .7rem}input{margin-left:.4rem;width:5.5rem}"
)
"""The style of every page, as it is in the page."""

_Form: TypeAlias = Mapping[str, Any]

_OTP_DIGITS = 6
_OTP_ATTEMPTS = 3

_DECISIONS: Mapping[str, Verdict] = {"pass": PASSED, "fail": FAILED}
_ENDS: Mapping[End | None, Verdict] = {End.PASSES: PASSED, End.FAILS: FAILED}


@dataclass(slots=True)
class _Otp:
    value: str
    attempts_left: int = _OTP_ATTEMPTS


class AcsEndpoints:
    """The ACS's endpoints for browsers. Every other message in forms is padded: both forms are allowed."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._padded = cycle((True, False))
        self._otps: dict[str, _Otp] = {}
        """The OTPs that are awaited, by transaction. They are not kept: a restart ends these challenges."""
        self.on_otp: Callable[[str, str], None] = lambda *_: None
        """Sends an OTP to the cardholder of a transaction."""

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, each named after its operation."""
        return [
            web.post(Path.THREE_DS_METHOD, _endpoint(self._three_ds_method), name=Operation.THREE_DS_METHOD.value),
            web.post(Path.CHALLENGE, _endpoint(self._challenge), name=Operation.CHALLENGE.value),
            web.post(Path.DECISION, _endpoint(self._decide), name=Operation.DECISION.value),
        ]

    async def _three_ds_method(self, form: _Form) -> str:
        data = _decoded(form, "threeDSMethodData")
        trans_id, url = _text(data, "threeDSServerTransID"), _text(data, "threeDSMethodNotificationURL")
        transaction = self._transactions.find(trans_id)
        if transaction is None or transaction.card.method is Method.ABSENT:
            raise ErroError("301", "threeDSServerTransID")
        _, is_url = FORMATS["url"]
        if not is_url(url):
            raise ErroError("203", "threeDSMethodNotificationURL")
        if transaction.card.method is Method.HANGS:
            return _empty_page()
        completion = encode({"threeDSServerTransID": trans_id}, padded=next(self._padded))
        return _post_page(url, {"threeDSMethodData": completion})

    async def _challenge(self, form: _Form) -> str:
        creq = _decoded(form, "creq")
        validate(creq, "CReq", Scene(VERSIONS[-1]))
        transaction, of = self._awaiting(creq, Phase.CHALLENGED)
        if of.notification_url is None:
            raise ErroError("305", "The challenge is for an SDK, not for a browser")
        if creq["messageVersion"] != of.version:
            raise ErroError("203", "messageVersion")
        session_data = _text(form, "threeDSSessionData") if "threeDSSessionData" in form else None
        if session_data is not None and len(session_data) > SESSION_DATA_MAX:
            raise ErroError("203", "threeDSSessionData")
        transaction.session_data = session_data
        verdict = _ENDS.get(transaction.card.outcome.end)
        if verdict is not None:
            return self._end(transaction, of, verdict)
        self._transactions.ask(transaction)
        if transaction.card.outcome.end is End.TYPES:
            return self._ask_for_otp(transaction, of)
        return _decision_page(_ids(transaction, of), transaction.pan[-4:])

    def _ask_for_otp(self, transaction: Transaction, of: Authentication) -> str:
        otp = f"{secrets.randbelow(10**_OTP_DIGITS):0{_OTP_DIGITS}d}"
        # Those that nobody typed have expired with their transactions.
        self._otps = {key: known for key, known in self._otps.items() if self._transactions.find(key) is not None}
        self._otps[transaction.trans_id] = _Otp(otp)
        self.on_otp(otp, transaction.trans_id)
        return _otp_page(_ids(transaction, of), transaction.pan[-4:])

    async def _decide(self, form: _Form) -> str:
        transaction, of = self._awaiting(form, Phase.ASKING)
        if transaction.card.outcome.end is End.TYPES and "decision" not in form:
            return self._check_otp(transaction, of, _text(form, "otp"))
        verdict = _DECISIONS.get(_text(form, "decision"))
        if verdict is None:
            raise ErroError("203", "decision")
        return self._end(transaction, of, verdict)

    def _check_otp(self, transaction: Transaction, of: Authentication, typed: str) -> str:
        awaited = self._otps.get(transaction.trans_id)
        if awaited is None:
            raise ErroError("402", "The OTP is no longer known")
        if hmac.compare_digest(typed.strip().encode(), awaited.value.encode()):
            return self._end(transaction, of, PASSED)
        awaited.attempts_left -= 1
        if awaited.attempts_left == 0:
            return self._end(transaction, of, FAILED)
        return _otp_page(_ids(transaction, of), transaction.pan[-4:], awaited.attempts_left)

    def _awaiting(self, ids: Mapping[str, Any], phase: Phase) -> tuple[Transaction, Authentication]:
        """Return the transaction that waits for a message with these ids."""
        transaction = self._transactions.find(_text(ids, "threeDSServerTransID"))
        of = transaction.authentication if transaction is not None else None
        if transaction is None or of is None or of.acs_trans_id != _text(ids, "acsTransID"):
            raise ErroError("301", "threeDSServerTransID, acsTransID")
        if transaction.phase is not phase:
            raise ErroError("402", "The challenge is over, or did not start in time")
        return transaction, of

    def _end(self, transaction: Transaction, of: Authentication, verdict: Verdict) -> str:
        self._otps.pop(transaction.trans_id, None)
        self._transactions.conclude(transaction, verdict)
        fields = {"cres": encode(make_cres(transaction, of, verdict), padded=next(self._padded))}
        if transaction.session_data is not None:
            fields["threeDSSessionData"] = transaction.session_data
        return _post_page(of.notification_url or "", fields)


def _endpoint(show: Callable[[_Form], Awaitable[str]]) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        try:
            return _html(await show(await request.post()))
        except ErroError as error:
            return _html(_error_page(str(error)), STATUS_MALFORMED)

    return handle


def _html(page: str, status: int = 200) -> web.Response:
    return web.Response(status=status, text=page, content_type="text/html", headers={"Cache-Control": "no-store"})


def _decoded(form: _Form, name: str) -> dict[str, Any]:
    try:
        return decode(_text(form, name))
    except ValueError:
        raise ErroError("101", f"{name} is not a JSON object as base64url without padding") from None


def _text(form: _Form, name: str) -> str:
    value = form.get(name)
    if value is None:
        raise ErroError("201", name)
    if not isinstance(value, str):
        raise ErroError("203", name)
    return value


def _post_page(url: str, fields: Mapping[str, str]) -> str:
    """Return a page that posts a form as soon as it loads."""
    without_script = "<noscript><button>Continue</button></noscript>"
    return _document("One moment", f"{_form(url, fields, without_script)}<script>document.forms[0].submit()</script>")


def _ids(transaction: Transaction, of: Authentication) -> Mapping[str, str]:
    return {"threeDSServerTransID": transaction.trans_id, "acsTransID": of.acs_trans_id}


def _otp_page(fields: Mapping[str, str], last_digits: str, attempts_left: int | None = None) -> str:
    """Return a page that asks for the OTP, and posts it as ``otp``; with what is left after a wrong one."""
    asks = f"<p>Type the code from the SMS, to pay with your card that ends in {escape(last_digits)}.</p>"
    wrong = (
        "" if attempts_left is None else f'<p role="alert">That is not the code. Attempts left: {attempts_left}.</p>'
    )
    entry = (
        '<label>Code<input name="otp" inputmode="numeric" autocomplete="one-time-code" maxlength="10" required></label>'
        '<button type="submit">Confirm</button>'
        '<button type="submit" name="decision" value="fail" formnovalidate>Refuse</button>'
    )
    return _document("Confirm this payment", asks + wrong + _form(Path.DECISION, fields, entry))


def _decision_page(fields: Mapping[str, str], last_digits: str) -> str:
    """Return a page that offers to pass or to fail, and posts the choice as ``decision``."""
    buttons = "".join(
        f'<button type="submit" name="decision" value="{value}">{text}</button>'
        for value, text in (("pass", "Confirm"), ("fail", "Refuse"))
    )
    asks = f"<p>Your bank asks whether you pay with your card that ends in {escape(last_digits)}.</p>"
    return _document("Confirm this payment", asks + _form(Path.DECISION, fields, buttons))


def _empty_page() -> str:
    """Return an empty page."""
    return _document("One moment", "")


def _error_page(reason: str) -> str:
    """Return an error page."""
    return _document("Not possible", f"<p>{escape(reason)}</p>")


def _form(url: str, fields: Mapping[str, str], buttons: str) -> str:
    hidden = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in fields.items()
    )
    return f'<form method="post" action="{escape(url)}">{hidden}{buttons}</form>'


def _document(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{title}</title><style>{PAGE_STYLE}</style></head><body><h1>{title}</h1>{body}</body></html>"
    )
