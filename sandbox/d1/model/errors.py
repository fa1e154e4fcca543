"""D1's error responses (D1 API: error codes)."""

from http import HTTPStatus

from sandbox.d1.model.contract import STATUS_CERTIFICATE_REJECTED, STATUS_NOT_REUSABLE

__all__ = ["D1Error", "bad_request", "certificate_rejected", "forbidden", "not_found", "not_reusable", "unauthorized"]


class D1Error(Exception):
    """An error response: in version 2 ``{"errorCode", "error"}``, either of which may be absent."""

    def __init__(self, status: int, error: str | None = None, error_code: str | None = None) -> None:
        super().__init__(f"{status} {error_code or ''} {error or ''}")
        self.status = status
        self.error = error
        self.error_code = error_code

    def body(self) -> dict[str, str]:
        """Return the JSON body in version 2; empty if D1 sends none."""
        parts = {"errorCode": self.error_code, "error": self.error}
        return {name: part for name, part in parts.items() if part is not None}

    def body_v1(self) -> dict[str, str]:
        """Return the JSON body in version 1, which has no codes."""
        return {"error": self.error or HTTPStatus(self.status).phrase}


def bad_request(error: str | None = None, error_code: str | None = None) -> D1Error:
    """The request is invalid; without details, the body is empty."""
    return D1Error(400, error, error_code)


def unauthorized(error: str = "AUTHORIZER_UNAUTHORIZED", status: int = 401) -> D1Error:
    """The caller is not authenticated; only ``error`` is filled."""
    return D1Error(status, error)


def certificate_rejected() -> D1Error:
    """The client certificate is another issuer's. Status and text are assumed."""
    return D1Error(STATUS_CERTIFICATE_REJECTED, "The client certificate is not the issuer's")


def forbidden(error: str) -> D1Error:
    """The card's state, the reason or the product does not allow it. The code is assumed."""
    return D1Error(403, error, "ACTION_NOT_ALLOWED")


def not_found(what: str) -> D1Error:
    """The resource does not exist. The code is assumed."""
    return D1Error(404, f"{what} does not exist", "NOT_FOUND")


def not_reusable(error: str) -> D1Error:
    """A card id or a PAN must not be reused. The code is assumed."""
    return D1Error(STATUS_NOT_REUSABLE, error, "CONFLICT")
