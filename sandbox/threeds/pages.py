"""The HTML that browsers get from the ACS."""

from collections.abc import Mapping
from html import escape

__all__ = ["empty_page", "post_page", "question_page", "refusal_page"]


def post_page(url: str, fields: Mapping[str, str]) -> str:
    """Return a page that has the browser post a form as soon as it is loaded."""
    without_script = "<noscript><button>Go on</button></noscript>"
    return _page("One moment", f"{_form(url, fields, without_script)}<script>document.forms[0].submit()</script>")


def question_page(url: str, fields: Mapping[str, str]) -> str:
    """Return a page that asks whether to pass or to fail, and posts the answer as ``decision``."""
    buttons = "".join(
        f'<button type="submit" name="decision" value="{value}">{text}</button>'
        for value, text in (("pass", "Confirm"), ("fail", "Refuse"))
    )
    return _page("Is it you who pays?", _form(url, fields, buttons))


def empty_page() -> str:
    """Return a page that does nothing."""
    return _page("One moment", "")


def refusal_page(why: str) -> str:
    """Return a page that says what is wrong."""
    return _page("Not possible", f"<p>{escape(why)}</p>")


def _form(url: str, fields: Mapping[str, str], buttons: str) -> str:
    hidden = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in fields.items()
    )
    return f'<form method="post" action="{escape(url)}">{hidden}{buttons}</form>'


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{title}</title></head><body><h1>{title}</h1>{body}</body></html>"
    )
