"""Common parts of D1's callbacks: ids in path and query, the JSON body, the purchase."""

import re
from collections.abc import Container

from aiohttp import web

from adapters.d1.callbacks import schema as d1
from adapters.d1.callbacks.fields import Fields
from gateway.edge.request_body import read_json
from gateway.edge.responses import HttpError
from issuer.callback.v1 import requests_pb2

__all__ = ["MAX_TEXT_LENGTH", "id_in_path", "id_in_query", "issuer_in_path", "parse_transaction", "read_fields"]

MAX_TEXT_LENGTH = 1024
"""Limit for texts for which D1 documents none."""


async def read_fields(request: web.Request) -> Fields:
    """Parse a callback's body.

    Raises:
        HttpError: As raised by `gateway.edge.request_body.read_json`.
    """
    return Fields(await read_json(request))


def issuer_in_path(request: web.Request, issuers: Container[str]) -> str:
    """Return the issuer's id.

    Raises:
        HttpError: 404 if the issuer is not configured.
    """
    issuer_id = request.match_info["issuerId"]
    if issuer_id not in issuers:
        raise HttpError(404, "unknown issuerId")
    return issuer_id


def id_in_path(request: web.Request, name: str, form: re.Pattern[str]) -> str:
    """Return an id in the path.

    Raises:
        HttpError: 400 if it is malformed.
    """
    value = request.match_info[name]
    if form.fullmatch(value) is None:
        raise HttpError(400, f"{name} must match {form.pattern}")
    return value


def id_in_query(request: web.Request, name: str, form: re.Pattern[str]) -> str:
    """Return an optional id in the query; empty if absent.

    Raises:
        HttpError: 400 if it is malformed.
    """
    value = request.query.get(name, "")
    if value and form.fullmatch(value) is None:
        raise HttpError(400, f"{name} must match {form.pattern}")
    return value


def parse_transaction(fields: Fields, transaction: requests_pb2.ThreeDSTransaction) -> None:
    """Parse a purchase into `transaction`; an unexpected field is kept as received."""
    transaction.SetInParent()
    names = d1.ThreeDSTransaction
    transaction.acs_trans_id = fields.first_fitting_text(
        names.ACS_TRANSACTION_ID, names.ACS_TRANS_ID, names.ACS_TRANS_ID_EMV, max_length=MAX_TEXT_LENGTH
    )
    transaction.merchant_name = fields.fitting_text(names.MERCHANT_NAME, max_length=MAX_TEXT_LENGTH)
    transaction.purchase_amount = fields.fitting_digits(names.PURCHASE_AMOUNT, max_length=MAX_TEXT_LENGTH)
    transaction.purchase_currency = fields.fitting_digits(names.PURCHASE_CURRENCY, max_length=MAX_TEXT_LENGTH)
    transaction.purchase_exponent = fields.fitting_digits(names.PURCHASE_EXPONENT, max_length=MAX_TEXT_LENGTH)
    transaction.purchase_date = fields.fitting_text(names.PURCHASE_DATE, max_length=MAX_TEXT_LENGTH)
    transaction.three_ds_requestor_app_url = fields.fitting_text(
        names.THREE_DS_REQUESTOR_APP_URL, max_length=MAX_TEXT_LENGTH
    )
    if fields:
        fields.rest_into(transaction.unrecognized)
