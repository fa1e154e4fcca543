"""The calls that the gateway makes, found by making them: the adapter's own code runs with a client that sends nothing.

Each text of a request is its own path in the request's message, so every property of the body leads back to the field
of the contract that it comes from, and to the limits of that field. Requests in which one field is empty show which
properties may be left out.
"""

import inspect
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar, get_type_hints

from google.protobuf.message import Message

from adapters.d1.api import D1Authenticators, D1CardIssuer, D1Client, D1Consumers, D1OperationHistory, endpoints
from adapters.d1.api.endpoints import Endpoint
from adapters.d1.api.errors import rejection
from adapters.d1.api.oauth import read_token
from adapters.d1.callbacks import schema
from adapters.d1.callbacks.fields import Fields
from adapters.d1.callbacks.misfits import Misfits
from adapters.d1.openapi.exchanges import Exchange, Probed, Property, observed, text_limits, unknown_words
from adapters.d1.openapi.requests import full_request, properties
from adapters.http.response import UpstreamResponse
from gateway.errors import GatewayError
from gateway.logging import correlation
from gateway.ports import Call, HistoryPage

__all__ = ["calls", "error_properties"]

_CALL: Final = Call("ISSUER0001", "correlation")
_LIMIT: Final = 50
_NUMBERS: Final = {endpoints.OFFSET: (0, None), endpoints.LIMIT: (1, _LIMIT)}
"""Smallest and largest value of each parameter of a query."""
_SUCCESS: Final = 200
_CORRELATION: Final = Property(name=correlation.HEADER, pattern=correlation.FORM.pattern)

_Body: TypeAlias = dict[str, Any]
_Port = TypeVar("_Port")
_Made: TypeAlias = Coroutine[Any, None, Any]
_Make: TypeAlias = Callable[[D1Client, Misfits], _Made]


class _Response(UpstreamResponse):
    """A successful response, whose body is an object in memory."""

    def __init__(self, content: _Body) -> None:
        super().__init__(_SUCCESS)
        object.__setattr__(self, "_json", content)


class _Client(D1Client):
    """Sends nothing, keeps the request, and responds as told."""

    def __init__(self, response: _Body) -> None:
        self._response = _Response(response)
        self.endpoint: Endpoint | None = None
        self.body: _Body = {}
        self.query: Mapping[str, int] = {}
        self.user_id = ""

    async def call(
        self,
        endpoint: Endpoint,
        call: Call,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, int] | None = None,
        user_id: str = "",
        **ids: str,
    ) -> UpstreamResponse:
        """See `D1Client.call`."""
        endpoint.path(issuer_id=call.issuer_id, **ids)
        self.endpoint, self.body, self.query, self.user_id = endpoint, dict(body or {}), query or {}, user_id
        return self._response


class _Misfits(Misfits):
    """Keeps the paths of fields that do not fit."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def report(self, message: str, fields: Fields) -> None:
        """See `Misfits.report`."""
        del message
        self.paths += fields.misfits


def calls() -> Sequence[Exchange]:
    """Return every call that the gateway makes."""
    return [_token(), *(_change(*each) for each in _changes()), _list_operations(), _get_operation()]


def error_properties() -> frozenset[str]:
    """Return the properties of an error that the gateway reads."""
    return observed(lambda body: rejection(_Response(body)), {})[0]


def _changes() -> Iterator[tuple[type, str, type[Message]]]:
    for kind in (D1CardIssuer, D1Consumers, D1Authenticators):
        for name, method in inspect.getmembers(kind, inspect.iscoroutinefunction):
            yield kind, name, get_type_hints(method)["request"]


def _token() -> Exchange:
    form = endpoints.token_form("")
    return Exchange(
        name="token",
        served=False,
        method=endpoints.TOKEN.method,
        path=endpoints.TOKEN.template,
        status=endpoints.TOKEN.success_status,
        headers=[_CORRELATION],
        media_type="application/x-www-form-urlencoded",
        sends=[Property(name=name, words=frozenset({value} if value else ())) for name, value in form.items()],
        reads=observed(_read_token, {})[0],
        needs_body=True,
        probe=lambda body: _read_token({**body, "token_type": "Bearer"}),
    )


def _read_token(body: _Body) -> Probed:
    try:
        read_token(_Response(body), 0.0)
    except GatewayError as error:
        return Probed(failure=error.message)
    return Probed()


def _change(kind: type, name: str, request_type: type[Message]) -> Exchange:
    def make(request: Message, client: D1Client, misfits: Misfits) -> _Made:
        made: _Made = getattr(_reporting(kind(client), misfits), name)(request, _CALL)
        return made

    def sent(request: Message) -> Mapping[str, Any]:
        return _sent(partial(make, request), {}).body

    full = full_request(request_type)
    user_id: Any = full.DESCRIPTOR.fields_by_name.get("user_id")
    user = [] if user_id is None else [Property(name=endpoints.USER_HEADER, always=False, **text_limits(user_id))]
    return _exchange(name, partial(make, full), {}, headers=user, sends=properties(full, sent))


def _reporting(port: _Port, misfits: Misfits) -> _Port:
    """Let a port report misfits here, not to the log."""
    if hasattr(port, "misfits"):
        port.misfits = misfits
    return port


def _list_operations() -> Exchange:
    def make(client: D1Client, misfits: Misfits) -> _Made:
        return _reporting(D1OperationHistory(client), misfits).list_operations("card", 0, _LIMIT, _CALL)

    page: _Body = {endpoints.FIELDS["operations"]: [{schema.ThreeDSOperation.DETAILS: {}}]}
    return _exchange("list_operations", make, page)


def _get_operation() -> Exchange:
    asked = schema.ThreeDSOperation.OPERATION_ID

    def make(client: D1Client, misfits: Misfits, operation_id: str = "a") -> _Made:
        return _reporting(D1OperationHistory(client), misfits).get_operation("card", operation_id, _CALL)

    def probe(body: _Body) -> Probed:
        return _probed(partial(make, operation_id=str(body.get(asked))), body)

    return _exchange("get_operation", make, {schema.ThreeDSOperation.DETAILS: {}}, probe=probe)


def _exchange(
    name: str,
    make: _Make,
    response: _Body,
    *,
    headers: Sequence[Property] = (),
    sends: Sequence[Property] = (),
    probe: Callable[[_Body], Probed] | None = None,
) -> Exchange:
    client = _sent(make, deepcopy(response))
    reads, choices = observed(partial(_probed, make), response)
    if client.endpoint is None:
        raise LookupError(f"{name} calls nothing")
    return Exchange(
        name=name,
        served=False,
        method=client.endpoint.method,
        path=client.endpoint.template,
        status=client.endpoint.success_status,
        headers=[_CORRELATION, *headers],
        query=[
            Property(name=each, kind="integer", least=least, most=most)
            for each, (least, most) in _NUMBERS.items()
            if each in client.query
        ],
        sends=sends,
        reads=reads,
        choices=choices,
        needs_body=bool(_probed(make, {}).failure),
        probe=probe or partial(_probed, make),
    )


def _sent(make: _Make, response: _Body) -> _Client:
    client = _Client(response)
    _probed(make, response, client)
    return client


def _probed(make: _Make, response: _Body, client: _Client | None = None) -> Probed:
    misfits = _Misfits()
    try:
        result = _ended(make(client or _Client(response), misfits))
    except GatewayError as error:
        return Probed(failure=error.message)
    messages = result.operations if isinstance(result, HistoryPage) else [result]
    return Probed(misfits.paths, [word for message in messages for word in unknown_words(message)])


def _ended(made: _Made) -> Any:
    """Return the result of a call, which waits for nothing as nothing is sent."""
    try:
        made.send(None)
    except StopIteration as ended:
        return ended.value
    raise RuntimeError("the call waits for something")
