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


@pytest.mark.parametrize(("levels", "is_read"), [(16, True), (17, False), (500, False), (100_000, False)])
def test_an_object_is_read_only_to_a_depth_that_can_be_passed_on(levels: int, *, is_read: bool) -> None:
    body = b'{"a":' + b"[" * (levels - 1) + b"1" + b"]" * (levels - 1) + b"}"

    assert (UpstreamResponse(200, body=body).json_object() is not None) is is_read


def test_an_answer_does_not_show_its_body() -> None:
    assert "secret" not in repr(UpstreamResponse(200, body=b'{"access_token":"secret"}'))
