"""The backfill as the page shows it: what it does, why, how far it is, and what waits."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from gateway.backfill.state import BackfillPhase, BackfillView, IssuerBackfill
from gateway.operators import wording
from gateway.operators.markup import Content, Element, element, table
from issuer.common.v1 import error_pb2

__all__ = ["shown", "warnings"]

_LEVELS: Final = {BackfillPhase.IDLE: "idle", BackfillPhase.RUNNING: "good", BackfillPhase.PAUSED: "warn"}
_MAX_LISTED: Final = 25
_MIN_RATE_SECONDS: Final = 10.0
"""Before that, the first few cards say little about the others."""


def shown(view: BackfillView | None, now: float) -> Iterable[Element]:
    """Yield a sentence, and a table of the issuers for which there is something to do.

    Args:
        view: What is done; None if it cannot be read.
        now: The time, in seconds since 1970 (UTC).
    """
    if view is None:
        yield element("p", "Not known while the storage cannot be read.", class_="empty")
        return
    busy = [(issuer_id, each) for issuer_id, each in sorted(view.state.issuers.items()) if _is_busy(each)]
    yield element("p", _sentence(view, is_busy=bool(busy)))
    if busy:
        headings = ("Issuer", "State", "Why", "Cards", "#A minute", "#Time left", "#Recovered", "#Failed", "Waiting")
        rows = (_row(issuer_id, each, now) for issuer_id, each in busy[:_MAX_LISTED])
        yield table(headings, rows, label="Backfills by issuer", class_="stacked")
    if len(busy) > _MAX_LISTED:
        yield element("p", f"and {wording.count(len(busy) - _MAX_LISTED)} more", class_="empty")


def warnings(view: BackfillView | None, now: float) -> Iterator[str]:
    """Yield what needs attention."""
    if view is None:
        return
    if _is_nowhere(view):
        yield "No gateway does the backfills at the moment"
    # What pauses one, often pauses all.
    pauses = [(issuer_id, each.pause) for issuer_id, each in sorted(view.state.issuers.items()) if each.pause]
    if pauses:
        issuer_id, pause = pauses[0]
        more = f" and {len(pauses) - 1} more" if len(pauses) > 1 else ""
        left = wording.duration(pause.until_ms / 1000 - now)
        yield f"The backfill of {issuer_id}{more} is paused for another {left}: {_reason(pause.reason)}"


def _is_nowhere(view: BackfillView) -> bool:
    return view.state.is_enabled and not view.state.is_leader and not view.is_at_peer


def _is_busy(each: IssuerBackfill) -> bool:
    return each.phase is not BackfillPhase.IDLE or each.pending_gaps > 0 or each.pending_cards > 0


def _sentence(view: BackfillView, *, is_busy: bool) -> Sequence[str | Element]:
    if not view.state.is_enabled:
        return [_state("off", "idle"), ": nothing is fetched by itself. BackfillNotifications works."]
    if _is_nowhere(view):
        return [_state("no gateway does it", "warn"), " at the moment."]
    if view.is_at_peer:
        return [_state("a peer does it", "idle"), ": its page says more."]
    return [_state("this gateway does it", "good"), "" if is_busy else ". Nothing waits."]


def _row(issuer_id: str, each: IssuerBackfill, now: float) -> Element:
    rate, left = _rate(each, now), each.cards_total - each.cards_done
    is_known = rate > 0 and each.cards_total > 0
    return element(
        "tr",
        element("th", issuer_id, scope="row"),
        element("td", _phase(each, now)),
        element("td", _why(each, now)),
        element("td", _progress(issuer_id, each)),
        element("td", wording.count(rate * 60) if is_known else "", class_="number", data_moves=True),
        element("td", wording.duration(left / rate) if is_known else "", class_="number", data_moves=True),
        element("td", wording.count(each.recovered_count), class_="number", data_moves=True),
        element(
            "td",
            wording.count(each.failed_count),
            class_="number some" if each.failed_count else "number",
            data_moves=True,
        ),
        element("td", _waiting(each), class_="when"),
    )


def _phase(each: IssuerBackfill, now: float) -> Sequence[str | Element]:
    phase = _state(wording.words(each.phase), _LEVELS.get(each.phase, "idle"))
    if each.pause is not None:
        again = wording.moment(max(each.pause.until_ms / 1000, now), now)
        return [phase, f": {_reason(each.pause.reason)}; tries again ", again]
    return [phase, f" for {wording.duration(now - each.started_ms / 1000)}" if each.started_ms else ""]


def _why(each: IssuerBackfill, now: float) -> Content:
    if not each.causes:
        return None
    causes = ", ".join(wording.words(cause) for cause in each.causes)
    return [f"{causes}; operations since ", wording.moment(each.since_ms / 1000, now)]


def _progress(issuer_id: str, each: IssuerBackfill) -> Content:
    if not each.cards_total:
        return "looks for cards" if each.phase is BackfillPhase.RUNNING else None
    done, total = wording.count(each.cards_done), wording.count(each.cards_total)
    return [
        f"{done} of {total}",
        element("progress", value=str(each.cards_done), max=str(each.cards_total), aria_label=f"Cards of {issuer_id}"),
    ]


def _rate(each: IssuerBackfill, now: float) -> float:
    """Return the cards per second since this gateway began the run, pauses included; 0 if it has just begun."""
    seconds = now - each.started_ms / 1000 if each.started_ms else 0.0
    return (each.cards_done - each.cards_done_before) / seconds if seconds >= _MIN_RATE_SECONDS else 0.0


def _waiting(each: IssuerBackfill) -> str:
    counts = ((each.pending_gaps, "gap"), (each.pending_cards, "card"))
    return ", ".join(f"{wording.count(number)} {name}{'s' * (number > 1)}" for number, name in counts if number)


def _reason(reason: error_pb2.ErrorReason.ValueType) -> str:
    return wording.words(error_pb2.ErrorReason.Name(reason).removeprefix("ERROR_REASON_"))


def _state(text: str, level: str) -> Element:
    return element("span", text, class_=f"state {level}")
