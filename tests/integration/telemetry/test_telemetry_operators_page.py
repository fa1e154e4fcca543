"""The operators' page as the admin port serves it: what it tells, to whom, and with which headers."""

from pathlib import Path

import aiohttp
import grpc
import pytest

from adapters.d1.callbacks import schema
from gateway.settings import AdminSettings
from issuer.card.v1 import messages_pb2 as card
from sandbox import Sandbox
from tests.integration.telemetry.operator_view import OperatorView
from tests.running import edge_session, running_gateway, settings_for

_CARD, _CONSUMER = "card-of-somebody", "consumer-somebody"
_OTP_PATH = schema.DELIVER_OTP_PATH.format(issuerId="SANDBOX001", consumerId=_CONSUMER)


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/static/page.css", "text/css; charset=utf-8"),
        ("/static/page.js", "text/javascript; charset=utf-8"),
        ("/static/icon.svg", "image/svg+xml; charset=utf-8"),
    ],
)
async def test_browsers_are_told_to_take_the_page_for_nothing_else(
    view: OperatorView, path: str, content_type: str
) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"http://{view.running.addresses.admin}{path}") as got:
        assert (got.status, got.headers["Content-Type"]) == (200, content_type)
        policy = got.headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"} <= {*policy}
        assert "unsafe" not in got.headers["Content-Security-Policy"]
        assert got.headers["X-Content-Type-Options"] == "nosniff"
        assert got.headers["Referrer-Policy"] == "no-referrer"
        assert got.headers["Cache-Control"] == "no-store"


async def test_a_site_whose_name_leads_here_does_not_get_the_page_and_probes_need_no_name(view: OperatorView) -> None:
    foreign = {"Host": "attacker.example"}

    status, content_type, body = await view.get("/", headers=foreign)

    assert (status, content_type) == (421, "text/plain; charset=utf-8")
    assert "page_hosts" in body
    assert "attacker" not in body
    assert [(await view.get(path, headers=foreign))[0] for path in ("/metrics", "/healthz", "/readyz")] == [200] * 3


async def test_what_failed_is_told_without_a_card_or_a_consumer(own_view: OperatorView) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await own_view.running.cards.SuspendCard(
            card.SuspendCardRequest(card_id=_CARD, reason_code="FRAUD"),
            metadata=[("x-correlation-id", "of-a-call")],
        )
    assert await own_view.call("POST", _OTP_PATH, {}) == 400

    page = (await own_view.get("/"))[2]

    for told in ("of-a-call", "UPSTREAM_NOT_FOUND", "rejected", "HTTP_400"):
        assert told in page
    assert _CARD not in page
    assert _CONSUMER not in page


async def test_the_page_is_off_if_the_settings_say_so(sandbox: Sandbox, tmp_path: Path) -> None:
    used = settings_for(sandbox, tmp_path)
    used = used.model_copy(update={"admin": AdminSettings(port=0, operators_page=False)})
    async with running_gateway(sandbox, used) as running, edge_session(sandbox) as session:
        view = OperatorView(running, session)
        assert [(await view.get(path))[0] for path in ("/", "/static/page.css", "/metrics")] == [404, 404, 200]
