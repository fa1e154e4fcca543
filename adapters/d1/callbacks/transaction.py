"""Reads the purchase that a one-time password or an authentication is for."""

from adapters.d1.callbacks import schema as d1
from adapters.d1.callbacks.fields import Fields
from issuer.callback.v1 import questions_pb2

__all__ = ["MOST_TEXT", "parse_transaction"]

MOST_TEXT = 1024
"""How long a text may be that D1 sends and no rule of D1's limits."""


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
