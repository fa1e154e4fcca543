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


async def _coroutine(request: Any, _: Context) -> Any:
    return request


_UNPARSED: Any = grpc.unary_unary_rpc_method_handler(_coroutine)
_BLOCKING: Any = grpc.unary_unary_rpc_method_handler(lambda request, _: request, request_deserializer=bytes)


@pytest.mark.parametrize("handler", [_UNPARSED, _BLOCKING])
def test_an_rpc_that_cannot_be_wrapped_is_not_served_past_the_policy(handler: Any, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(_POLICY)
    vocabulary = Vocabulary(frozenset({"/some.Service/Method"}), ())
    chain = Chain(AccessInterceptor(Callers(None), PolicyFile(file, vocabulary)))

    with pytest.raises(TypeError, match="an rpc handler must"):
        chain.add_registered_method_handlers("some.Service", {"Method": handler})
