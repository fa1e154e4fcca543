"""The code of docs/adding-an-adapter.md, with a server in Acme's place and a client that calls back as Acme would."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from gateway import settings
from gateway.edge.request_body import BODY_SECONDS
from gateway.edge.responses import answer_errors
from gateway.errors import GatewayError
from gateway.ports import Call
from gateway.ports.meter import Unmeasured
from gateway.settings import upstreams
from issuer.card.v1 import messages_pb2 as card
from issuer.notification.v1.messages_pb2 import Notification
from tests.fakes import FakeEventLog

_ISSUER = "ACME000001"
_PAGE = Path(__file__).parents[3] / "docs" / "adding-an-adapter.md"
_CARDS, _CALLBACKS, _SETTINGS, _BOOTSTRAP = re.findall(
    r"^```python\n(.*?)^```$", _PAGE.read_text(), re.MULTILINE | re.DOTALL
)


def _run(code: str, **known: Any) -> dict[str, Any]:
    names = {"__name__": "acme", **known}
    exec(compile(code, _PAGE.name, "exec"), names)  # noqa: S102 (our own page)
    return names


@asynccontextmanager
async def _serving(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_card_is_suspended_at_the_new_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = _run(_SETTINGS, **vars(upstreams))["AcmeSettings"]
    monkeypatch.setattr(settings, "AcmeSettings", table, raising=False)
    seen = []

    async def block(request: web.Request) -> web.Response:
        seen.append((request.path, await request.json(), request.headers["Authorization"]))
        return web.Response(status=409 if len(seen) > 1 else 204)

    app = web.Application()
    app.add_routes([web.post("/v1/issuers/{issuer}/cards/{card}/block", block)])
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text("secret")
    async with _serving(app) as url:
        chosen = table(base_url=url, api_key_file=key)
        async with _run(_CARDS)["connect"](chosen, None, Unmeasured()) as cards:
            request = card.SuspendCardRequest(card_id="card-1", reason_code="FRAUD")
            await cards.suspend_card(request, Call(_ISSUER, "correlation-1"))
            with pytest.raises(GatewayError) as refused:
                await cards.suspend_card(request, Call(_ISSUER, "correlation-1"))
    call = (f"/v1/issuers/{_ISSUER}/cards/card-1/block", {"why": "FRAUD"}, "Bearer secret")
    assert seen == [call, call]
    assert (refused.value.detail.upstream, refused.value.detail.upstream_status) == ("acme", 409)


async def test_a_callback_of_the_new_platform_is_in_the_event_log() -> None:
    log = FakeEventLog()
    app = web.Application(middlewares=[answer_errors])
    app[BODY_SECONDS] = 10.0
    app.add_routes(_run(_CALLBACKS)["acme_callbacks"]({_ISSUER}, log).routes)
    event = {"card": "card-1", "event": "op-1", "what": "BLOCKED"}
    async with _serving(app) as url, ClientSession() as session:
        posted = [
            (await session.post(f"{url}/acme/v1/{issuer}/events", json=body)).status
            for issuer, body in ((_ISSUER, event), (_ISSUER, {"card": 1}), ("NOBODY0001", event))
        ]
    assert posted == [204, 400, 404]
    [stored] = log.held
    taken = Notification.FromString(stored.event.payload)
    assert (taken.card_id, taken.three_ds_operation.type_text) == ("card-1", "BLOCKED")


def test_the_composition_root_has_what_the_bootstrap_line_fills_in() -> None:
    fields = re.findall(r"^            (\w+)=", _BOOTSTRAP, re.MULTILINE)
    root = (_PAGE.parents[1] / "gateway" / "bootstrap" / "platform.py").read_text()
    described = root.partition("class CardPlatform:")[2].partition("\n\n\n")[0]
    assert fields == re.findall(r"^    (\w+): ", described, re.MULTILINE)
