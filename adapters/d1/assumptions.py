"""What the gateway assumes about D1 where D1's public documentation shows nothing.

An assumption is declared where the code rests on it: in the annotation of a name, in `Endpoint.assumed`, or in a
module's list `ASSUMPTIONS` if it is about how D1 behaves. What the gateway's own settings and contract assume is below.
`tools/d1_assumptions.py` gathers all of it in docs/d1-assumptions.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = ["CONTRACT", "SETTINGS", "Assumption"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """Something that D1's own specification may contradict."""

    what: str = ""
    """What is assumed; empty if the name that it is declared on says it."""
    basis: str
    """What it is inferred from."""
    if_wrong: str
    """What happens if it is wrong."""


_TIMEOUT: Final = Assumption(
    what="is shorter than the time that D1 waits for an answer",
    basis="nothing: D1 discloses no time-outs",
    if_wrong="D1 gives up first; the handler's reply is late, and the fallback is never seen. Shorten it.",
)

SETTINGS: Final[Mapping[str, Assumption]] = MappingProxyType(
    {
        **{
            f"callbacks.{kind}.deadline_seconds": _TIMEOUT
            for kind in ("consumer_information", "deliver_otp", "authenticate", "authentication_result")
        },
        "callbacks.card_credentials.deadline_seconds": _TIMEOUT,
        "callbacks.authentication_result.wait_seconds": _TIMEOUT,
        "callbacks.authentication_result_ttl_seconds": Assumption(
            what="is longer than D1 goes on asking for a result",
            basis="tokens and sessions of D1, which live 15 minutes to an hour; D1 discloses no challenge time-out",
            if_wrong="D1 asks for a result that is gone, and a handler is asked again.",
        ),
        "edge.additional_banking_paths": Assumption(
            what="is complete: D1 makes its calls about consumers below `/banking/d1/v1` only",
            basis="D1's documentation; an integrator's D1 also called below `/banking/v1`",
            if_wrong="D1 gets 404: it learns no phone number, and delivers no one-time password. Add the path.",
        ),
        "d1.assertion_audience": Assumption(
            what="is accepted as the audience of assertions",
            basis="an integrator sends it; D1 documents the claim as optional, without a value",
            if_wrong="D1 issues no token, and every call fails with UPSTREAM_AUTHENTICATION. Leave it empty.",
        ),
    }
)
"""Settings whose default is an assumption about D1."""

_ID: Final = Assumption(
    what="has the form of D1's other ids",
    basis="the ids of cards, consumers and operations, whose pattern D1 shows",
    if_wrong="The gateway refuses a valid id with INVALID_REQUEST; nothing is sent.",
)
_PERSON: Final = Assumption(
    what="may have any form that the contract allows",
    basis="the advice of D1's SDK and samples; D1 shows no pattern",
    if_wrong="D1 refuses the consumer's information, and sends no one-time password.",
)

CONTRACT: Final[Mapping[str, Assumption]] = MappingProxyType(
    {
        "issuer.consumer.v1.DeleteAuthenticatorRequest.app_instance_id": _ID,
        "issuer.callback.v1.AuthenticateConsumerResponse.authentication_id": _ID,
        "issuer.consumer.v1.PersonalInformation.email": _PERSON,
        "issuer.consumer.v1.PhoneNumber.country_code": _PERSON,
        "issuer.consumer.v1.PhoneNumber.phone_number": _PERSON,
        "issuer.consumer.v1.PostalAddress.line1": _PERSON,
        "issuer.consumer.v1.PostalAddress.line2": _PERSON,
        "issuer.consumer.v1.PostalAddress.city": _PERSON,
        "issuer.consumer.v1.PostalAddress.state": _PERSON,
        "issuer.consumer.v1.PostalAddress.zip_code": _PERSON,
        "issuer.card.v1.CardAccount.type": Assumption(
            what="is free text of at most 64 characters",
            basis="nothing: D1's page is cut after the name",
            if_wrong="D1 refuses the card with UPSTREAM_INVALID; nothing is created.",
        ),
        "issuer.card.v1.RegisterCardRequest.card_data": Assumption(
            what="is required",
            basis="a registration serves to hand over a card's credentials",
            if_wrong="A card without credentials cannot be registered, although D1 would take it.",
        ),
    }
)
"""Fields of the contract whose limits are an assumption about D1."""
