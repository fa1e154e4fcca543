"""What D1 asks of the edge while a purchase waits, and whether it could use what is answered.

Every answer is checked as D1's contract has it: status, media type, JSON shape, patterns, encryption.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

from joserfc.jwk import ECKey

from sandbox.common.fields import (
    InvalidFieldError,
    InvalidValueError,
    MalformedBodyError,
    choice,
    json_object,
    optional_text,
    text,
)
from sandbox.d1.callbacks.edge import EdgeAnswer, EdgeClient, NotDeliveredError
from sandbox.d1.model import contract
from sandbox.d1.model.contract import OperationStatus, OutboundCall
from sandbox.d1.model.jwe import decrypt_credentials
from sandbox.d1.model.personal import PersonalInformation
from sandbox.d1.model.store import Credentials

__all__ = ["AuthenticationResult", "BadAnswerError", "MadeCall", "QuestionError", "Questions"]

_Answer = TypeVar("_Answer")

_JSON = "application/json"


class QuestionError(Exception):
    """The edge refused to answer a question, in a way that D1 understands."""


class BadAnswerError(QuestionError):
    """D1 could not use the answer: it breaks the contract."""


@dataclass(frozen=True, slots=True)
class MadeCall:
    """A question that was asked."""

    name: str
    """As in D1's specification."""
    status: int | None
    """None if there was no answer."""
    milliseconds: float
    """How long the answer took, or the waiting for it."""
    problem: str | None = None
    """Why it was in vain."""
    breaks_contract: bool = False
    """Whether that is because the answer was checked and found wrong."""


@dataclass(frozen=True, slots=True)
class AuthenticationResult:
    """How an authentication stands."""

    status: OperationStatus
    error: str | None
    """Text for people, if it failed."""


class Questions:
    """Asks the edge.

    Its methods raise `NotDeliveredError` if there is no answer, `QuestionError` if it is a refusal, and
    `BadAnswerError` if it breaks the contract. No error text holds a value of an answer.
    """

    def __init__(
        self, edge: EdgeClient, keys: Mapping[str, ECKey], correlation_id: str, journal: list[MadeCall]
    ) -> None:
        """Ask on one occasion.

        Args:
            edge: Whom.
            keys: D1's private keys for card data, by ``kid``.
            correlation_id: Goes along with every question.
            journal: Where every question is noted.
        """
        self._edge = edge
        self._keys = keys
        self._correlation_id = correlation_id
        self._journal = journal

    async def consumer_information(self, consumer_id: str, card_id: str | None = None) -> PersonalInformation:
        """Ask who a consumer is; with a card's id if personal data are tied to cards."""
        return await self._ask(
            contract.GET_CONSUMER_INFORMATION,
            {"consumerId": consumer_id},
            PersonalInformation.of,
            query=_card_query(card_id),
        )

    async def deliver_otp(self, consumer_id: str, body: Mapping[str, Any], card_id: str | None = None) -> None:
        """Have an OTP sent."""
        await self._ask(
            contract.DELIVER_OTP, {"consumerId": consumer_id}, lambda _: None, body=body, query=_card_query(card_id)
        )

    async def authenticate(self, consumer_id: str, body: Mapping[str, Any]) -> str:
        """Have a consumer authenticated in the issuer's app; returns the authentication's id."""
        return await self._ask(
            contract.AUTHENTICATE,
            {"consumerId": consumer_id},
            lambda answer: text(answer, contract.FIELD_AUTHENTICATION_ID, contract.AUTHENTICATION_ID),
            body=body,
        )

    async def authentication_result(self, consumer_id: str, authentication_id: str) -> AuthenticationResult:
        """Ask how an authentication stands."""

        def read(answer: Mapping[str, Any]) -> AuthenticationResult:
            if answer.get(contract.FIELD_AUTHENTICATION_ID, authentication_id) != authentication_id:
                raise InvalidValueError(contract.FIELD_AUTHENTICATION_ID)
            status = choice(answer, contract.FIELD_AUTHENTICATION_STATUS, OperationStatus)
            return AuthenticationResult(status, optional_text(answer, "error"))

        ids = {"consumerId": consumer_id, "authenticationId": authentication_id}
        return await self._ask(contract.GET_AUTHENTICATION_RESULT, ids, read)

    async def card_credentials(self, card_id: str) -> Credentials:
        """Ask for a card's data."""

        def read(answer: Mapping[str, Any]) -> Credentials:
            return decrypt_credentials(text(answer, "encryptedData", contract.ENCRYPTED_DATA), self._keys)

        return await self._ask(contract.GET_CARD_CREDENTIALS, {"cardId": card_id}, read)

    async def _ask(
        self,
        call: OutboundCall,
        ids: Mapping[str, str],
        read: Callable[[Mapping[str, Any]], _Answer],
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> _Answer:
        loop = asyncio.get_running_loop()
        began, status, failure = loop.time(), None, None
        try:
            answer = await self._edge.call(call, ids, correlation_id=self._correlation_id, body=body, query=query)
            status = answer.status
            return _read(call, answer, read)
        except (NotDeliveredError, QuestionError) as error:
            failure = error
            raise
        finally:
            milliseconds = (loop.time() - began) * 1000
            problem = None if failure is None else str(failure)
            broken = isinstance(failure, BadAnswerError)
            self._journal.append(MadeCall(call.name, status, milliseconds, problem, broken))


def _read(call: OutboundCall, answer: EdgeAnswer, read: Callable[[Mapping[str, Any]], _Answer]) -> _Answer:
    if answer.status != call.success:
        raise _refusal(call, answer)
    if call.success == HTTPStatus.NO_CONTENT:
        return read({})
    if not answer.body or answer.content_type != _JSON:
        raise BadAnswerError(f"{call.name} was not answered with JSON")
    try:
        return read(json_object(answer.body))
    except InvalidFieldError as error:
        problem = "has a value that is not allowed" if isinstance(error, InvalidValueError) else "is missing or wrong"
        raise BadAnswerError(f"{error.field} {problem} in the answer to {call.name}") from None
    except MalformedBodyError:
        raise BadAnswerError(f"{call.name} was not answered with a JSON object") from None


def _refusal(call: OutboundCall, answer: EdgeAnswer) -> QuestionError:
    told = f"{call.name} was answered {answer.status}"
    if answer.status not in contract.REFUSALS:
        return BadAnswerError(f"{told}, which D1 does not know")
    try:
        if answer.body:
            text(json_object(answer.body), "error")
    except (InvalidFieldError, MalformedBodyError):
        return BadAnswerError(f'{told} with a body that is not {{"error"}}')
    return QuestionError(told)


def _card_query(card_id: str | None) -> dict[str, str] | None:
    return None if card_id is None else {contract.FIELD_CARD_ID: card_id}
