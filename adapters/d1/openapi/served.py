"""D1's calls that the gateway serves, found in its routes; the adapter's own code reads and writes their bodies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, Final, TypeAlias, cast

from google.protobuf.message import Message

from adapters.d1.callbacks import d1_callbacks, token_body
from adapters.d1.callbacks import schema as d1
from adapters.d1.callbacks.consumers import information_body, parse_delivery
from adapters.d1.callbacks.dispatcher import REFUSAL_STATUSES
from adapters.d1.callbacks.fields import FieldError, Fields
from adapters.d1.callbacks.operations import parse_consumer_operation, parse_operation
from adapters.d1.callbacks.step_up import parse_authentication, reference_body, result_body
from adapters.d1.openapi.exchanges import Exchange, Probed, Property, observed, unknown_words
from adapters.d1.openapi.requests import full_request, properties
from gateway.edge.auth_tokens import Token
from gateway.ports.meter import Unmeasured
from gateway.settings import CallbackSettings
from issuer.callback.v1 import replies_pb2, requests_pb2
from issuer.consumer.v1 import authentication_pb2 as authentication
from issuer.consumer.v1 import operation_pb2 as consumer
from issuer.threeds.v1 import operation_pb2 as threeds

__all__ = ["served"]

_Body: TypeAlias = dict[str, Any]
_Parse: TypeAlias = Callable[[Fields, Any], None]

_UNUSABLE: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND})
"""Statuses that D1 gets for a malformed or misdirected notification."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What is known of a path beside its methods."""

    name: str
    status: HTTPStatus
    errors: frozenset[HTTPStatus] = REFUSAL_STATUSES
    query: Sequence[str] = ()
    parse: tuple[_Parse, type[Message]] | None = None
    """Parses a request, into a message of this type."""
    request: Mapping[str, Any] = field(default_factory=dict)
    """The least request of which the code reads everything."""
    batch: str = ""
    answer: tuple[Callable[[Any], Mapping[str, Any]], type[Message]] | None = None
    """Builds a response, from a message of this type."""


_FACTS: Final[Mapping[str, _Facts]] = {
    d1.THREE_DS_NOTIFICATION_PATH: _Facts(
        name="three_ds_notification",
        status=d1.THREE_DS_NOTIFICATION_STATUS,
        errors=_UNUSABLE,
        parse=(parse_operation, threeds.ThreeDSOperation),
        request={d1.ThreeDSOperation.DETAILS: {}},
        batch=d1.BATCH,
    ),
    d1.CONSUMER_NOTIFICATION_PATH: _Facts(
        name="consumer_notification",
        status=d1.CONSUMER_NOTIFICATION_STATUS,
        errors=_UNUSABLE,
        parse=(parse_consumer_operation, consumer.ConsumerOperation),
        request={d1.ConsumerOperation.DETAILS: {}},
        batch=d1.BATCH,
    ),
    d1.CONSUMER_INFORMATION_PATH: _Facts(
        name="consumer_information",
        status=d1.CONSUMER_INFORMATION_STATUS,
        query=[d1.CONSUMER_INFORMATION_CARD_PARAMETER],
        answer=(
            lambda reply: information_body(reply.personal_information),
            replies_pb2.ConsumerInformationResponse,
        ),
    ),
    d1.DELIVER_OTP_PATH: _Facts(
        name="deliver_otp",
        status=d1.DELIVER_OTP_STATUS,
        query=[d1.DELIVER_OTP_CARD_PARAMETER],
        parse=(parse_delivery, requests_pb2.DeliverOtpRequest),
        request={d1.OtpDelivery.OTP: {d1.Otp.VALUE: "1"}, d1.OtpDelivery.TRANSACTION: {}},
    ),
    d1.AUTHENTICATE_PATH: _Facts(
        name="authenticate",
        status=d1.AUTHENTICATE_STATUS,
        parse=(parse_authentication, requests_pb2.AuthenticateConsumerRequest),
        request={d1.AuthenticationRequest.TRANSACTION: {}},
        answer=(reference_body, replies_pb2.AuthenticateConsumerResponse),
    ),
    d1.AUTHENTICATION_RESULT_PATH: _Facts(
        name="authentication_result",
        status=d1.AUTHENTICATION_RESULT_STATUS,
        answer=(lambda result: result_body(result.authentication_id, result), authentication.AuthenticationResult),
    ),
    d1.CARD_CREDENTIALS_PATH: _Facts(
        name="card_credentials",
        status=d1.CARD_CREDENTIALS_STATUS,
        answer=(
            lambda reply: {d1.CardCredentials.ENCRYPTED_DATA: reply.encrypted_data},
            replies_pb2.CardCredentialsResponse,
        ),
    ),
}


def served() -> Sequence[Exchange]:
    """Return every call of D1 that the gateway serves."""
    # Nothing is asked of these while routes are assembled.
    absent: Any = cast("Any", None)
    callbacks = d1_callbacks(
        (), log=absent, bus=absent, results=absent, encryption=absent, settings=CallbackSettings(), meter=Unmeasured()
    )
    found = [_exchange(route.method, route.path, _FACTS[route.path]) for route in callbacks.routes]
    return [_token(callbacks.token_path), *found]


def _token(path: str) -> Exchange:
    one, other = token_body(Token("one", 1, 1.0), "one"), token_body(Token("other", 2, 2.0), "other")
    without_scope = token_body(Token("one", 1, 1.0), "")
    return Exchange(
        name="token_for_d1",
        served=True,
        method="POST",
        path=path,
        status=d1.TOKEN_STATUS,
        sends=[
            Property(
                name=name, always=name in without_scope, words=frozenset({str(value)} if value == other[name] else ())
            )
            for name, value in one.items()
        ],
    )


def _exchange(method: str, path: str, facts: _Facts) -> Exchange:
    probe = None if facts.parse is None else partial(_parsed, *facts.parse)
    reads, choices = (frozenset[str](), ()) if probe is None else observed(probe, facts.request)
    return Exchange(
        name=facts.name,
        served=True,
        method=method,
        path=path,
        status=facts.status,
        errors=facts.errors,
        query=[Property(name=name) for name in facts.query],
        sends=() if facts.answer is None else properties(full_request(facts.answer[1]), facts.answer[0]),
        reads=reads,
        choices=choices,
        batch=facts.batch,
        probe=probe,
    )


def _parsed(parse: _Parse, kind: type[Message], body: _Body) -> Probed:
    fields, message = Fields(body), kind()
    try:
        parse(fields, message)
    except FieldError as error:
        return Probed(fields.misfits, failure=str(error))
    return Probed(fields.misfits, unknown_words(message))
