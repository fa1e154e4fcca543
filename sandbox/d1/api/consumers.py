"""D1's consumer endpoints: register, delete, and remove the authenticator of an app instance."""

from aiohttp import web

from sandbox.common.fields import InvalidFormatError, text
from sandbox.d1.acs.authenticators import Authenticators
from sandbox.d1.api.requests import check_envelope, json_body, reason_v1
from sandbox.d1.model import contract
from sandbox.d1.model.contract import Operation, RequestorType
from sandbox.d1.model.issuers import Issuers
from sandbox.d1.model.personal import PersonalInformation
from sandbox.d1.model.store import CardStore

__all__ = ["ConsumerEndpoints"]


class ConsumerEndpoints:
    """The consumer endpoints. Fields outside the contract are ignored."""

    def __init__(self, issuers: Issuers, store: CardStore, authenticators: Authenticators) -> None:
        self._issuers = issuers
        self._store = store
        self._authenticators = authenticators

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, each named after its operation."""
        return [
            web.put(contract.CONSUMER_PATH, self._register, name=Operation.REGISTER_CONSUMER.value),
            web.post(contract.DELETE_CONSUMER_PATH, self._delete, name=Operation.DELETE_CONSUMER.value),
            web.post(
                contract.DELETE_AUTHENTICATOR_PATH,
                self._delete_authenticator,
                name=Operation.DELETE_AUTHENTICATOR.value,
            ),
        ]

    async def _register(self, request: web.Request) -> web.Response:
        consumer_id = self._consumer_id(request)
        body = await json_body(request)
        information = None
        if "personalInformation" in body:
            value = body["personalInformation"]
            if not isinstance(value, dict):
                raise InvalidFormatError("personalInformation")
            information = PersonalInformation.of(value)
        self._store.register_consumer(consumer_id, information)
        return web.Response(status=contract.STATUS_CONSUMER_DONE)

    async def _delete(self, request: web.Request) -> web.Response:
        consumer_id = self._consumer_id(request)
        await reason_v1(request)
        with self._store.together():
            self._store.delete_consumer(consumer_id)
            self._authenticators.forget(consumer_id)
        return web.Response(status=contract.STATUS_CONSUMER_DONE)

    async def _delete_authenticator(self, request: web.Request) -> web.Response:
        check_envelope(request, self._issuers)
        app_instance_id = text(request.match_info, "appInstanceId", contract.APP_INSTANCE_ID)
        await reason_v1(request)
        self._authenticators.delete(app_instance_id, RequestorType.ISSUER)
        return web.Response(status=contract.STATUS_AUTHENTICATOR_DELETED)

    def _consumer_id(self, request: web.Request) -> str:
        check_envelope(request, self._issuers)
        return text(request.match_info, "consumerId", contract.CONSUMER_ID)
