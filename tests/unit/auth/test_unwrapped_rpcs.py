"""What the access check relies on: an rpc that it cannot wrap is not served."""

from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.auth.caller import Callers
from gateway.auth.policy import Vocabulary
from gateway.auth.policy_file import PolicyFile
from gateway.grpc_api.interceptors.access import AccessInterceptor
from gateway.grpc_api.interceptors.chain import Chain, Context

_POLICY = '[[callers]]\nidentity = "jwt:a"\ngrants = [{ rpcs = ["*"], issuers = ["*"] }]\n'


class _Details(grpc.HandlerCallDetails):
    method = "/some.Service/Method"
    invocation_metadata = ()


async def _coroutine(request: Any, _: Context) -> Any:
    return request


async def _unparsed(_: object) -> Any:
    return grpc.unary_unary_rpc_method_handler(_coroutine)


async def _blocking(_: object) -> Any:
    return grpc.unary_unary_rpc_method_handler(lambda request, _: request, request_deserializer=bytes)


@pytest.mark.parametrize("continuation", [_unparsed, _blocking])
async def test_an_rpc_that_cannot_be_wrapped_is_not_served_past_the_policy(continuation: Any, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(_POLICY)
    interceptor = AccessInterceptor(Callers(None), PolicyFile(file, Vocabulary(frozenset({_Details.method}), ())))

    with pytest.raises(TypeError, match="an rpc handler must"):
        await Chain(interceptor).intercept_service(continuation, _Details())
