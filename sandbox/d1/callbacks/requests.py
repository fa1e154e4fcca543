"""The callback requests that D1 sends while a purchase waits, and its checks of the replies.

D1 checks every reply against its contract: status, media type, JSON shape, patterns, encryption.
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
from sandbox.d1.callbacks.edge_client import EdgeClient, EdgeResponse, NotDeliveredError
from sandbox.d1.model import contract
from sandbox.d1.model.contract import Callback, OperationStatus
from sandbox.d1.model.jwe import decrypt_credentials
from sandbox.d1.model.personal import PersonalInformation
from sandbox.d1.model.store import Credentials

__all__ = ["AuthenticationResult", "BadReplyError", "CallbackError", "CallbackRequests", "SentRequest"]

_Reply = TypeVar("_Reply")

_JSON = "application/json"


class CallbackError(Exception):
    """The edge responded with an error that D1 understands."""


class BadReplyError(CallbackError):
    """The callback reply breaks the contract, so D1 cannot use it."""


@dataclass(frozen=True, slots=True)
class SentRequest:
    """A callback request that D1 sent."""

    name: str
    """The name in D1's specification."""
    status: int | None
    """The response's status; None without a response."""
    milliseconds: float
    """The time to the response, or to giving up."""
    problem: str | None = None
    """The reason of a failure."""
    breaks_contract: bool = False
    """Whether the reply broke the contract."""


@dataclass(frozen=True, slots=True)
class AuthenticationResult:
    """The state of an authentication."""

    status: OperationStatus
    error: str | None
    """The reason of a failure, for people."""


class CallbackRequests:
    """Sends callback requests to the edge.

    Its methods raise `NotDeliveredError` without a response, `CallbackError` for an error response, and
    `BadReplyError` for a reply that breaks the contract. No error text holds a value of a reply.
    """

    def __init__(
        self, edge: EdgeClient, keys: Mapping[str, ECKey], correlation_id: str, journal: list[SentRequest]
    ) -> None:
        """Use one correlation id for all requests.

        Args:
            edge: The client of the edge.
            keys: D1's private keys for card data, by ``kid``.
            correlation_id: Sent with every request.
            journal: Receives a record of every request.
        """
        self._edge = edge
        self._keys = keys
        self._correlation_id = correlation_id
        self._journal = journal

    async def consumer_information(self, consumer_id: str, card_id: str | None = None) -> PersonalInformation:
        """Request a consumer's personal data; with a card's id if personal data are tied to cards."""
        return await self._request(
            contract.GET_CONSUMER_INFORMATION,
            {"consumerId": consumer_id},
            PersonalInformation.of,
            query=_card_query(card_id),
        )

    async def deliver_otp(self, consumer_id: str, body: Mapping[str, Any], card_id: str | None = None) -> None:
        """Request delivery of an OTP."""
        await self._request(
            contract.DELIVER_OTP, {"consumerId": consumer_id}, lambda _: None, body=body, query=_card_query(card_id)
        )

    async def authenticate(self, consumer_id: str, body: Mapping[str, Any]) -> str:
        """Request authentication in the issuer's app; return the authentication's id."""
        return await self._request(
            contract.AUTHENTICATE,
            {"consumerId": consumer_id},
            lambda response: text(response, contract.FIELD_AUTHENTICATION_ID, contract.AUTHENTICATION_ID),
            body=body,
        )

    async def authentication_result(self, consumer_id: str, authentication_id: str) -> AuthenticationResult:
        """Request the state of an authentication."""

        def read(response: Mapping[str, Any]) -> AuthenticationResult:
            if response.get(contract.FIELD_AUTHENTICATION_ID, authentication_id) != authentication_id:
                raise InvalidValueError(contract.FIELD_AUTHENTICATION_ID)
            status = choice(response, contract.FIELD_AUTHENTICATION_STATUS, OperationStatus)
            return AuthenticationResult(status, optional_text(response, "error"))

        ids = {"consumerId": consumer_id, "authenticationId": authentication_id}
        return await self._request(contract.GET_AUTHENTICATION_RESULT, ids, read)

    async def card_credentials(self, card_id: str) -> Credentials:
        """Request a card's data."""

        def read(response: Mapping[str, Any]) -> Credentials:
            return decrypt_credentials(text(response, "encryptedData", contract.ENCRYPTED_DATA), self._keys)

        return await self._request(contract.GET_CARD_CREDENTIALS, {"cardId": card_id}, read)

    async def _request(
        self,
        call: Callback,
        ids: Mapping[str, str],
        read: Callable[[Mapping[str, Any]], _Reply],
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> _Reply:
        loop = asyncio.get_running_loop()
        began, status, failure = loop.time(), None, None
        try:
            response = await self._edge.call(call, ids, correlation_id=self._correlation_id, body=body, query=query)
            status = response.status
            return _read(call, response, read)
        except (NotDeliveredError, CallbackError) as error:
            failure = error
            raise
        finally:
            milliseconds = (loop.time() - began) * 1000
            problem = None if failure is None else str(failure)
            broken = isinstance(failure, BadReplyError)
            self._journal.append(SentRequest(call.name, status, milliseconds, problem, broken))


def _read(call: Callback, response: EdgeResponse, read: Callable[[Mapping[str, Any]], _Reply]) -> _Reply:
    if response.status != call.success:
        raise _error(call, response)
    if call.success == HTTPStatus.NO_CONTENT:
        return read({})
    if not response.body or response.content_type != _JSON:
        raise BadReplyError(f"{call.name} got a reply that is not JSON")
    try:
        return read(json_object(response.body))
    except InvalidFieldError as error:
        problem = "has a value that is not allowed" if isinstance(error, InvalidValueError) else "is missing or wrong"
        raise BadReplyError(f"{error.field} {problem} in the reply to {call.name}") from None
    except MalformedBodyError:
        raise BadReplyError(f"{call.name} got a reply that is not a JSON object") from None


def _error(call: Callback, response: EdgeResponse) -> CallbackError:
    description = f"{call.name} got HTTP {response.status}"
    if response.status not in contract.ERROR_STATUSES:
        return BadReplyError(f"{description}, which D1 does not know")
    try:
        if response.body:
            text(json_object(response.body), "error")
    except (InvalidFieldError, MalformedBodyError):
        return BadReplyError(f'{description} with a body that is not {{"error"}}')
    return CallbackError(description)


def _card_query(card_id: str | None) -> dict[str, str] | None:
    return None if card_id is None else {contract.FIELD_CARD_ID: card_id}
