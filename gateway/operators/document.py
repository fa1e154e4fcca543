"""The whole page."""

from gateway.operators import wording
from gateway.operators.attention import findings
from gateway.operators.markup import Element, document, element, link
from gateway.operators.sections import sections
from gateway.operators.snapshot import Snapshot

__all__ = ["render"]

_RELOAD_SECONDS = "10"


def render(now: Snapshot) -> bytes:
    """Return the page as HTML."""
    return document(element("html", _head(now), _body(now), lang="en"))


def _head(now: Snapshot) -> Element:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("title", f"{_word(now)} · {now.instance.host} · d1-gateway"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", type="image/svg+xml", href="static/icon.svg"),
        element("link", rel="stylesheet", href="static/page.css"),
        element("script", type="module", src="static/page.js"),
        element("noscript", element("meta", http_equiv="refresh", content=_RELOAD_SECONDS)),
    )


def _body(now: Snapshot) -> Element:
    instance = now.instance
    return element(
        "body",
        element("a", "Skip to the content", href="#content", class_="skip"),
        _header(now),
        element("p", role="status", id="link", class_="link"),
        element(
            "main",
            _attention(now),
            element("div", sections(now), class_="grid"),
            id="content",
            tabindex="-1",
        ),
        element(
            "footer",
            element("p", "Read only. ", link("metrics", "Metrics"), " ", link("readyz", "Readiness")),
        ),
        data_version=instance.version,
        data_started=f"{instance.start_time:.3f}",
    )


def _header(now: Snapshot) -> Element:
    instance = now.instance
    level = "good" if now.report.is_ready else "bad"
    return element(
        "header",
        element("h1", "d1-gateway ", element("span", instance.host, class_="host")),
        element("p", _word(now), class_=f"ready {level}"),
        element(
            "p",
            f"Version {instance.version} · Python {instance.python} · process {instance.process_id} · started ",
            wording.moment(instance.start_time, now.time),
            class_="instance",
        ),
        element("p", "As of ", _clock(now), class_="as-of"),
    )


def _attention(now: Snapshot) -> Element:
    found = findings(now)
    heading = element("h2", "Needs attention" if found else "Nothing needs attention", id="attention-title")
    items = [
        element(
            "li",
            element("span", "Problem" if each.level == "bad" else "Warning", class_=f"level {each.level}"),
            " ",
            link(f"#{each.section}", each.text),
        )
        for each in found
    ]
    listed = element("ul", items) if items else None
    classes = f"attention {found[0].level if found else 'good'}"
    return element("section", heading, listed, class_=classes, id="attention", aria_labelledby="attention-title")


def _clock(now: Snapshot) -> Element:
    made = wording.moment(now.time, now.time)
    # The one time that has to be right while the page stands still.
    made.text = made.get("title", "").partition(" ")[2]
    return made


def _word(now: Snapshot) -> str:
    return "Ready" if now.report.is_ready else "Not ready"
