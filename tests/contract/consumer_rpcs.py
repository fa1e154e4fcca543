"""The rpcs of ConsumerService that call D1, each with a request that has an effect after `enrol`."""

from issuer.consumer.v1 import messages_pb2 as consumer
from issuer.consumer.v1 import personal_information_pb2 as personal
from sandbox import Sandbox
from sandbox.d1.model.contract import Operation
from tests.contract.card_rpcs import rpcs

__all__ = ["RPCS", "enrol", "known"]

RPCS = rpcs(
    "consumers",
    {
        Operation.DELETE_AUTHENTICATOR: consumer.DeleteAuthenticatorRequest(
            app_instance_id="app-1", reason="Phone lost"
        ),
        Operation.REGISTER_CONSUMER: consumer.RegisterConsumerRequest(
            consumer_id="consumer-1",
            user_id="operator-7",
            personal_information=personal.PersonalInformation(
                language="en-US",
                first_name="Zoë",
                mobile_phone_number=personal.PhoneNumber(country_code="+962", phone_number="791234567"),
                residency_address=personal.PostalAddress(city="Amman", country_code="JO"),
            ),
        ),
        Operation.DELETE_CONSUMER: consumer.DeleteConsumerRequest(
            consumer_id="consumer-1", reason_code="USER_DECISION"
        ),
    },
)


def enrol(sandbox: Sandbox) -> None:
    """Enrol an authenticator of consumer-1, who has cards at D1, in the installation app-1."""
    sandbox.authenticators.enrol("consumer-1", "app-1")


def known(sandbox: Sandbox) -> tuple[object, ...]:
    """Return the state of D1 that the rpcs can change."""
    return dict(sandbox.store._consumers), sandbox.authenticators.all(), sandbox.store.cards()
