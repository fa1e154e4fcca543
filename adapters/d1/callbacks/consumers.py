"""D1's callbacks about a consumer: personal information, one-time passwords (D1 API: outbound consumer API)."""

from collections.abc import Container, Mapping
from types import MappingProxyType
from typing import Any, Final

from aiohttp import web
from google.protobuf.message import Message

from adapters.d1.callbacks import schema as d1
from adapters.d1.callbacks.dispatcher import CallbackDispatcher
from adapters.d1.callbacks.fields import CARD_ID, CONSUMER_ID, FieldError, Fields
from adapters.d1.callbacks.misfits import Misfits
from adapters.d1.callbacks.request import (
    MAX_TEXT_LENGTH,
    id_in_path,
    id_in_query,
    issuer_in_path,
    parse_transaction,
    read_fields,
)
from gateway.edge.responses import empty_response, json_response
from gateway.ports.meter import UpstreamMeter
from gateway.settings import CallbackPolicySettings
from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import requests_pb2
from issuer.consumer.v1 import personal_information_pb2 as personal

__all__ = ["ConsumerCallbacks", "information_body", "parse_delivery"]

_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        field.full_name: getattr(names, field.name.upper())
        for message, names in (
            (personal.PersonalInformation, d1.ConsumerInformation),
            (personal.PhoneNumber, d1.PhoneNumber),
            (personal.PostalAddress, d1.Address),
        )
        for field in message.DESCRIPTOR.fields
    }
)


class ConsumerCallbacks:
    """Passes the callbacks to handlers."""

    def __init__(
        self,
        issuers: Container[str],
        dispatcher: CallbackDispatcher,
        meter: UpstreamMeter,
        *,
        information: CallbackPolicySettings,
        otp: CallbackPolicySettings,
    ) -> None:
        self._issuers = issuers
        self._dispatcher = dispatcher
        self._misfits = Misfits(meter)
        self._information = information
        self._otp = otp

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get(d1.CONSUMER_INFORMATION_PATH, self.get_information, allow_head=False),
            web.post(d1.DELIVER_OTP_PATH, self.post_otp),
        ]

    async def get_information(self, request: web.Request) -> web.Response:
        """Respond with a consumer's personal information.

        Raises:
            HttpError: An id is malformed, no handler replies, or the handler declines.
        """
        wanted = callback.CallbackRequest(
            issuer_id=issuer_in_path(request, self._issuers),
            consumer_information=requests_pb2.ConsumerInformationRequest(
                consumer_id=id_in_path(request, "consumerId", CONSUMER_ID),
                card_id=id_in_query(request, d1.CONSUMER_INFORMATION_CARD_PARAMETER, CARD_ID),
            ),
        )
        reply = await self._dispatcher.ask(request, wanted, self._information)
        return json_response(
            d1.CONSUMER_INFORMATION_STATUS, information_body(reply.consumer_information.personal_information)
        )

    async def post_otp(self, request: web.Request) -> web.Response:
        """Pass a one-time password to a handler, which delivers it.

        Raises:
            HttpError: The request is malformed, no handler replies, or the handler declines.
            FieldError: The password is missing.
        """
        issuer_id = issuer_in_path(request, self._issuers)
        delivery = requests_pb2.DeliverOtpRequest(
            consumer_id=id_in_path(request, "consumerId", CONSUMER_ID),
            card_id=id_in_query(request, d1.DELIVER_OTP_CARD_PARAMETER, CARD_ID),
        )
        fields = await read_fields(request)
        parse_delivery(fields, delivery)
        self._misfits.report("deliver_otp", fields)
        wanted = callback.CallbackRequest(issuer_id=issuer_id, deliver_otp=delivery)
        await self._dispatcher.ask(request, wanted, self._otp)
        return empty_response(d1.DELIVER_OTP_STATUS)


def parse_delivery(fields: Fields, delivery: requests_pb2.DeliverOtpRequest) -> None:
    """Parse a one-time password into `delivery`; an unexpected field is kept as received.

    Raises:
        FieldError: The password is missing.
    """
    otp = fields.fitting_nested(d1.OtpDelivery.OTP)
    if otp is None:
        raise FieldError(f"{d1.OtpDelivery.OTP} must be an object")
    delivery.otp = otp.text(d1.Otp.VALUE, max_length=MAX_TEXT_LENGTH)
    delivery.expiration_date_text = otp.fitting_text(d1.Otp.EXPIRATION_DATE, max_length=MAX_TEXT_LENGTH)
    delivery.reason = otp.fitting_text(d1.Otp.REASON, max_length=MAX_TEXT_LENGTH)
    delivery.delivery_channel = fields.fitting_text(d1.OtpDelivery.DELIVERY_CHANNEL, max_length=MAX_TEXT_LENGTH)
    delivery.pan_suffix = fields.fitting_text(d1.OtpDelivery.PAN_SUFFIX, max_length=MAX_TEXT_LENGTH)
    transaction = fields.fitting_nested(d1.OtpDelivery.TRANSACTION)
    if transaction is not None:
        parse_transaction(transaction, delivery.transaction)
    if fields:
        fields.rest_into(delivery.unrecognized)
    if otp:
        otp.rest_into(delivery.unrecognized.fields[d1.OtpDelivery.OTP].struct_value)


def information_body(message: Message) -> dict[str, Any]:
    """Rename the fields of a person's data to D1's names. Leave out what is empty, which D1 refuses."""
    body: dict[str, Any] = {}
    for field, value in message.ListFields():
        renamed = value if field.message_type is None else information_body(value)
        if renamed:
            body[_NAMES[field.full_name]] = renamed
    return body
