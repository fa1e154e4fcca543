"""The 3DS Method, through the page of a browser."""

from typing import Any

import pytest

from tests.integration.sandbox_threeds.threeds_sandbox_browser import Page, pack, unpack
from tests.integration.sandbox_threeds.threeds_sandbox_caller import ThreeDSCaller, pan_of

NOTIFICATION_URL = "https://requestor.example.org/method/end?a=1&b=2"


async def open_method(caller: ThreeDSCaller, crd: dict[str, Any], **changes: Any) -> Page:
    data = {
        "threeDSServerTransID": crd["threeDSServerTransID"],
        "threeDSMethodNotificationURL": NOTIFICATION_URL,
    } | changes
    given = {name: value for name, value in data.items() if value is not None}
    return await caller.browser.post(crd["threeDSMethodURL"], {"threeDSMethodData": pack(given)})


async def test_the_method_reports_that_it_is_done(caller: ThreeDSCaller) -> None:
    crd = await caller.preauth(pan_of("0003"))

    page = await open_method(caller, crd)

    assert page.submits_itself
    assert (page.form.method, page.form.action) == ("post", NOTIFICATION_URL)
    assert unpack(page.form.fields["threeDSMethodData"]) == {"threeDSServerTransID": crd["threeDSServerTransID"]}


async def test_the_report_is_padded_every_other_time(caller: ThreeDSCaller) -> None:
    pages = [await open_method(caller, await caller.preauth(pan_of("0003"))) for _ in range(4)]

    padded = [page.form.fields["threeDSMethodData"].endswith("=") for page in pages]
    assert padded == [True, False, True, False]


async def test_the_method_of_some_cards_never_reports(caller: ThreeDSCaller) -> None:
    page = await open_method(caller, await caller.preauth(pan_of("0203")))

    assert (page.status, page.forms, page.submits_itself) == (200, (), False)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"threeDSServerTransID": "8a880dc0-d2d2-4067-bcb1-b08d1690b26e"}, "301"),
        ({"threeDSServerTransID": None}, "201"),
        ({"threeDSServerTransID": 1}, "203"),
        ({"threeDSMethodNotificationURL": None}, "201"),
        ({"threeDSMethodNotificationURL": "javascript:alert(1)"}, "203"),
    ],
)
async def test_wrong_method_data_are_refused(caller: ThreeDSCaller, changes: dict[str, Any], code: str) -> None:
    page = await open_method(caller, await caller.preauth(pan_of("0003")), **changes)

    assert (page.status, page.forms) == (400, ())
    assert f"<p>{code} " in page.text


async def test_method_data_with_padding_are_refused(caller: ThreeDSCaller) -> None:
    assert "101" in (await caller.browser.post("/acs/3ds-method", {"threeDSMethodData": "e30="})).text


async def test_a_card_without_a_method_has_none(caller: ThreeDSCaller) -> None:
    crd = await caller.preauth(pan_of("0103"))

    assert "301" in (await open_method(caller, crd | {"threeDSMethodURL": "/acs/3ds-method"})).text


async def test_the_method_ends_with_the_transaction(caller: ThreeDSCaller) -> None:
    crd = await caller.preauth(pan_of("0003"))
    caller.clock.now += 80

    assert "301" in (await open_method(caller, crd)).text
