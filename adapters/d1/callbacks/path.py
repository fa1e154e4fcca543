"""Reads the ids in the path and in the query of what D1 calls."""

import re

from aiohttp import web

from gateway.auth.issuers import Issuers
from gateway.edge.errors import Refusal

__all__ = ["id_in_path", "id_in_query", "issuer_in_path"]


def issuer_in_path(request: web.Request, issuers: Issuers) -> str:
    """Return the issuer that D1 means.

    Raises:
        Refusal: 404, the gateway is not configured for it.
    """
    issuer_id = request.match_info["issuerId"]
    if issuer_id not in issuers:
        raise Refusal(404, "unknown issuerId")
    return issuer_id


def id_in_path(request: web.Request, name: str, form: re.Pattern[str]) -> str:
    """Return an id that stands in the path.

    Raises:
        Refusal: 400, it does not look like one.
    """
    value = request.match_info[name]
    if form.fullmatch(value) is None:
        raise Refusal(400, f"{name} must match {form.pattern}")
    return value


def id_in_query(request: web.Request, name: str, form: re.Pattern[str]) -> str:
    """Return an id that may stand in the query; empty if it does not.

    Raises:
        Refusal: 400, it does not look like one.
    """
    value = request.query.get(name, "")
    if value and form.fullmatch(value) is None:
        raise Refusal(400, f"{name} must match {form.pattern}")
    return value
