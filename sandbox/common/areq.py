"""An AReq as an issuer's or merchant's service makes one."""

from issuer.threeds.v1 import areq_pb2, codes_pb2
from issuer.threeds.v1 import messages_pb2 as threeds

__all__ = ["payment"]


def payment(found: threeds.LookupCardResponse, pan: str, notification_url: str) -> areq_pb2.AReq:
    """Return the AReq of a payment in a browser.

    Args:
        found: The lookup of the card.
        pan: The card number.
        notification_url: Where the browser goes after a challenge.
    """
    return areq_pb2.AReq(
        message_version=found.message_version,
        device_channel=codes_pb2.DEVICE_CHANNEL_BROWSER,
        message_category=codes_pb2.MESSAGE_CATEGORY_PAYMENT,
        three_ds_server_trans_id=found.three_ds_server_trans_id,
        three_ds_comp_ind=codes_pb2.COMPLETION_INDICATOR_UNAVAILABLE,
        three_ds_requestor_url="https://shop.example",
        three_ds_requestor_authentication_ind="01",
        acct_number=pan,
        card_expiry_date="3112",
        acquirer_bin="438309",
        acquirer_merchant_id="00002000000",
        mcc="5411",
        merchant_country_code="840",
        merchant_name="Books and more",
        purchase_amount="1999",
        purchase_currency="978",
        purchase_exponent="2",
        purchase_date="20260131120000",
        notification_url=notification_url,
        browser_accept_header="text/html",
        browser_javascript_enabled=True,
        browser_java_enabled=False,
        browser_language="en",
        browser_color_depth="24",
        browser_screen_height="900",
        browser_screen_width="1440",
        browser_tz="-60",
        browser_user_agent="Mozilla/5.0",
    )
