"""What D1's callbacks have in common: the ids in path and query, a JSON body, and the purchase they are about."""

import re
from collections.abc import Container

from aiohttp import web

from adapters.d1.callbacks import schema as d1
from adapters.d1.callbacks.fields import Fields
from gateway.edge.request_body import read_json
from gateway.edge.responses import HttpError
from issuer.callback.v1 import questions_pb2

__all__ = ["MOST_TEXT", "id_in_path", "id_in_query", "issuer_in_path", "parse_transaction", "read_fields"]

MOST_TEXT = 1024
"""How long a text may be that D1 sends and no rule of D1's limits."""


async def read_fields(request: web.Request) -> Fields:
    """Read the fields of a callback's body.

    Raises:
        HttpError: See `gateway.edge.request_body.read_json`.
    """
    return Fields(await read_json(request))


def issuer_in_path(request: web.Request, issuers: Container[str]) -> str:
    """Return the issuer that D1 means.

    Raises:
        HttpError: 404, the gateway is not configured for it.
    """
    issuer_id = request.match_info["issuerId"]
    if issuer_id not in issuers:
        raise HttpError(404, "unknown issuerId")
    return issuer_id


def id_in_path(request: web.Request, name: str, form: re.Pattern[str]) -> str:
    """Return an id that stands in the path.

    Raises:
        HttpError: 400, it does not look like one.
    """
    value = request.match_info[name]
    if form.fullmatch(value) is None:
        raise HttpError(400, f"{name} must match {form.pattern}")
    return value


def id_in_query(request: web.Request, name: str, form: re.Pattern[str]) -> str:
    """Return an id that may stand in the query; empty if it does not.

    Raises:
        HttpError: 400, it does not look like one.
    """
    value = request.query.get(name, "")
    if value and form.fullmatch(value) is None:
        raise HttpError(400, f"{name} must match {form.pattern}")
    return value


def parse_transaction(fields: Fields, transaction: questions_pb2.ThreeDSTransaction) -> None:
    """Read a purchase; what is not as expected is kept as it came.

    Args:
        fields: What D1 sent.
        transaction: Where it goes.

    Raises:
        FieldError: A field nests too deep.
    """
    transaction.SetInParent()
    names = d1.ThreeDSTransaction
    transaction.acs_transaction_id = fields.fitting_text(names.ACS_TRANSACTION_ID, max_length=MOST_TEXT)
    transaction.merchant_name = fields.fitting_text(names.MERCHANT_NAME, max_length=MOST_TEXT)
    transaction.purchase_amount = fields.fitting_text(names.PURCHASE_AMOUNT, max_length=MOST_TEXT)
    transaction.purchase_currency = fields.fitting_text(names.PURCHASE_CURRENCY, max_length=MOST_TEXT)
    transaction.purchase_exponent = fields.fitting_text(names.PURCHASE_EXPONENT, max_length=MOST_TEXT)
    transaction.purchase_date = fields.fitting_text(names.PURCHASE_DATE, max_length=MOST_TEXT)
    if fields:
        fields.rest_into(transaction.unrecognized)
