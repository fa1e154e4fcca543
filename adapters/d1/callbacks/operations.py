"""Parses the operations that D1 reports, on cards (D1 API: 3DS operation) and consumers (D1 API: consumer operation).

A 3DS operation has the same form in D1's notifications and in its history. Whatever does not fit is kept beside the
fields that the contract does not know: D1's change policy asks not to validate strictly, and D1 does not send again
what got a 400.
"""

from collections.abc import Iterable
from typing import Final, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from adapters.d1.assumptions import Assumption
from adapters.d1.callbacks import schema as d1
from adapters.d1.callbacks.fields import CONSUMER_ID, OPERATION_ID, Fields, parse_time
from issuer.consumer.v1 import operation_pb2 as consumer
from issuer.threeds.v1 import operation_pb2 as threeds

__all__ = ["ASSUMPTIONS", "parse_consumer_operation", "parse_operation"]

ASSUMPTIONS: Final = (
    Assumption(
        what="the words of a status are SUCCESSFUL, PENDING and FAILED; a denial of the cardholder is FAILED",
        basis="the words of D1's other operations",
        if_wrong="The status is unspecified, beside D1's word in `status_text`. Correct the enums of the contract.",
    ),
    Assumption(
        what="the operations on a consumer are those of D1's inbound API",
        basis="D1's list of consumer operations, which it shows there",
        if_wrong="The type is unspecified, beside D1's word in `type_text`. Correct the enum of the contract.",
    ),
)

_Number = TypeVar("_Number", bound=int)

_MAX_WORD_LENGTH = 64
_MAX_ERROR_LENGTH = 4096


def _words(values: Iterable[tuple[str, _Number]], prefix: str, word_prefix: str = "") -> dict[str, _Number]:
    """Map D1's words to the values of an enum."""
    return {word_prefix + name.removeprefix(prefix): number for name, number in values if number}


_TYPES = _words(threeds.ThreeDSOperationType.items(), "THREE_DS_OPERATION_TYPE_", "3DS_")
_STATUSES = _words(threeds.ThreeDSOperationStatus.items(), "THREE_DS_OPERATION_STATUS_")
_CONSUMER_TYPES = _words(consumer.ConsumerOperationType.items(), "CONSUMER_OPERATION_TYPE_")
_CONSUMER_STATUSES = _words(consumer.ConsumerOperationStatus.items(), "CONSUMER_OPERATION_STATUS_")


def parse_operation(fields: Fields, operation: threeds.ThreeDSOperation) -> None:
    """Parse a 3DS operation into `operation`, in place because protobuf copies a message that is assigned to a field.

    Without a usable id, its `operation_id` is empty.
    """
    names = d1.ThreeDSOperation
    type_text = fields.fitting_text(names.OPERATION, max_length=_MAX_WORD_LENGTH, required=True)
    status_text = fields.fitting_text(names.STATUS, max_length=_MAX_WORD_LENGTH, required=True)
    start_time_text = fields.fitting_text(names.START_TIME, max_length=_MAX_WORD_LENGTH, required=True)
    operation.operation_id = fields.fitting_identifier(names.OPERATION_ID, OPERATION_ID, required=True)
    operation.type = _TYPES.get(type_text, threeds.THREE_DS_OPERATION_TYPE_UNSPECIFIED)
    operation.type_text = type_text
    operation.status = _STATUSES.get(status_text, threeds.THREE_DS_OPERATION_STATUS_UNSPECIFIED)
    operation.status_text = status_text
    operation.start_time_text = start_time_text
    operation.consumer_id = fields.fitting_identifier(names.CONSUMER_ID, CONSUMER_ID)
    operation.error = fields.fitting_text(names.ERROR, max_length=_MAX_ERROR_LENGTH)
    _put_time(operation.start_time, start_time_text)
    details = fields.fitting_nested(names.DETAILS)
    if details is not None:
        _parse_details(details, operation.details)
    if fields:
        fields.rest_into(operation.unrecognized)


def _parse_details(fields: Fields, details: threeds.ThreeDSOperationDetails) -> None:
    details.SetInParent()
    names = d1.ThreeDSOperationDetails
    details.acs_trans_id = fields.first_fitting_text(
        names.ACS_TRANSACTION_ID, names.ACS_TRANS_ID, names.ACS_TRANS_ID_EMV, max_length=_MAX_WORD_LENGTH
    )
    details.three_ds_server_trans_id = fields.first_fitting_text(
        names.THREE_DS_SERVER_TRANS_ID, names.THREE_DS_SERVER_TRANS_ID_EMV, max_length=_MAX_WORD_LENGTH
    )
    if fields:
        fields.rest_into(details.unrecognized)


def parse_consumer_operation(fields: Fields, operation: consumer.ConsumerOperation) -> None:
    """Parse a consumer operation into `operation`. Without a usable id, its `operation_id` is empty."""
    names = d1.ConsumerOperation
    type_text = fields.fitting_text(names.OPERATION, max_length=_MAX_WORD_LENGTH, required=True)
    status_text = fields.fitting_text(names.STATUS, max_length=_MAX_WORD_LENGTH, required=True)
    operation.operation_id = fields.fitting_identifier(names.OPERATION_ID, OPERATION_ID, required=True)
    operation.type = _CONSUMER_TYPES.get(type_text, consumer.CONSUMER_OPERATION_TYPE_UNSPECIFIED)
    operation.type_text = type_text
    operation.status = _CONSUMER_STATUSES.get(status_text, consumer.CONSUMER_OPERATION_STATUS_UNSPECIFIED)
    operation.status_text = status_text
    operation.start_time_text = fields.fitting_text(names.START_TIME, max_length=_MAX_WORD_LENGTH)
    operation.end_time_text = fields.fitting_text(names.END_TIME, max_length=_MAX_WORD_LENGTH)
    _put_time(operation.start_time, operation.start_time_text)
    _put_time(operation.end_time, operation.end_time_text)
    operation.requestor_type_text = fields.fitting_text(names.REQUESTOR_TYPE, max_length=_MAX_WORD_LENGTH)
    operation.requestor_id = fields.fitting_text(names.REQUESTOR_ID, max_length=_MAX_WORD_LENGTH)
    operation.error = fields.fitting_text(names.ERROR, max_length=_MAX_ERROR_LENGTH)
    details = fields.fitting_nested(names.DETAILS)
    if details is not None:
        _parse_consumer_details(details, operation.details)
    if fields:
        fields.rest_into(operation.unrecognized)


def _parse_consumer_details(fields: Fields, details: consumer.ConsumerOperationDetails) -> None:
    details.SetInParent()
    names = d1.ConsumerOperationDetails
    details.app_instance_id = fields.fitting_text(names.APP_INSTANCE_ID, max_length=_MAX_WORD_LENGTH)
    if fields:
        fields.rest_into(details.unrecognized)


def _put_time(time: Timestamp, text: str) -> None:
    parsed = parse_time(text)
    if parsed is not None:
        time.seconds, time.nanos = parsed
