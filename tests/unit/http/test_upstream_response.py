import pytest

from adapters.http.response import UpstreamResponse


@pytest.mark.parametrize(("status", "succeeded"), [(199, False), (200, True), (204, True), (299, True), (300, False)])
def test_any_2xx_is_success(status: int, *, succeeded: bool) -> None:
    assert UpstreamResponse(status).succeeded is succeeded


def test_a_json_object_is_read() -> None:
    assert UpstreamResponse(200, body=b'{"a":[1,{"b":null}]}').json_object() == {"a": [1, {"b": None}]}


@pytest.mark.parametrize("body", [b"", b"[]", b"1", b"{", b'{"a":1}x', b"\xff"])
def test_what_is_no_json_object_is_not_read(body: bytes) -> None:
    assert UpstreamResponse(200, body=body).json_object() is None


def test_an_answer_does_not_show_its_body() -> None:
    assert "secret" not in repr(UpstreamResponse(200, body=b'{"access_token":"secret"}'))
