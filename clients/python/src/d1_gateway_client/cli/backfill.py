"""``d1-gateway-client backfill``: fetches what the event log lacks of many cards, and resumes where it was."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from d1_gateway_client import GatewayClient, GatewayError
from d1_gateway_client.cli.backfill_progress import Display, Tally, display
from d1_gateway_client.cli.backfill_state import State, UnusableCardsError, UnusableStateError, read_cards
from d1_gateway_client.cli.connect import (
    Address,
    CaFile,
    CertificateFile,
    Connection,
    KeyFile,
    ServerName,
    TokenFile,
    connected,
    failure,
)
from d1_gateway_client.cli.descriptors import to_json
from d1_gateway_client.cli.filters import UnusableWordError, time_ago
from d1_gateway_client.cli.output import FAILED, INTERRUPTED, UNUSABLE, logged_to_stderr, one_line, refused, tell
from d1_gateway_client.contracts.issuer.common.v1 import ErrorDetail
from d1_gateway_client.contracts.issuer.notification.v1 import BackfillPause, CardBackfill, CardBackfillError

__all__ = ["backfill"]

_CARDS_FAILED: Final = 3
_STDIN: Final = "-"
_MAX_NAMED: Final = 20

Cards: TypeAlias = Annotated[
    str, typer.Option(metavar="FILE|-", help="Card ids, one on a line, # begins a comment; - is standard input.")
]
Since: TypeAlias = Annotated[
    str, typer.Option(metavar="AGO", help="Fetch what D1 processed since then: 90s, 10m, 2h, 1d.")
]
StateFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Which cards are done, while not all are. Omitted: FILE.state, none for standard input."
    ),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON object for each card and each pause.")]
Issuer: TypeAlias = Annotated[str | None, typer.Option(help="Issuer id, if the gateway serves several.")]


def backfill(
    *,
    cards: Cards,
    since: Since,
    state: StateFile = None,
    json: Json = False,
    issuer: Issuer = None,
    address: Address = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    token_file: TokenFile = None,
    server_name: ServerName = None,
) -> None:
    """Fetch what the event log lacks of cards' 3DS operations from D1's history.

    Prints the cards that failed, each with the reason as a comment: input for another run. Standard error has progress.

    After Ctrl-C, a crash or an outage, the same command resumes: with the other cards, since the same time as before.

    Exit status:

    - 0: all cards are done

    - 1: the gateway refuses the backfill or cannot be reached; the same command resumes

    - 2: the command line, the cards or the state cannot be used; nothing was sent

    - 3: cards failed, the others are done

    - 130: Ctrl-C; the same command resumes
    """
    connection = Connection(address, ca_file, certificate_file, key_file, token_file, server_name)
    try:
        # gRPC would log what cannot be serialized, with a traceback.
        (issuer or "").encode()
        since_time = time_ago(since, datetime.now(UTC))
        card_ids = _card_ids(cards)
        with _opened(_state_file(cards, state), since, since_time, issuer or "") as opened:
            _run(connection, card_ids, issuer or "", opened, is_json=json)
    except UnusableWordError as error:
        raise refused(str(error)) from None
    except UnicodeEncodeError:
        raise refused("the command line is not valid UTF-8") from None
    except KeyboardInterrupt:
        raise refused("interrupted", INTERRUPTED) from None


def _card_ids(source: str) -> list[str]:
    try:
        return read_cards(sys.stdin.buffer.read() if source == _STDIN else Path(source).read_bytes())
    except OSError as error:
        raise refused(f"--cards: {source}: {error.strerror}") from None
    except UnusableCardsError as error:
        for number in error.line_numbers[:_MAX_NAMED]:
            tell(f"--cards: {source}: line {number}: expected a card id, 1 to 48 of A-Z a-z 0-9 _ -")
        if len(error.line_numbers) > _MAX_NAMED:
            tell(f"--cards: {source}: {len(error.line_numbers) - _MAX_NAMED} more lines")
        raise typer.Exit(UNUSABLE) from None


def _state_file(cards: str, given: Path | None) -> Path | None:
    return Path(f"{cards}.state") if given is None and cards != _STDIN else given


@contextmanager
def _opened(path: Path | None, since: str, since_time: datetime, issuer_id: str) -> Iterator[State]:
    try:
        state = State(since_time) if path is None else State.open(path, since, since_time, issuer_id)
    except UnusableStateError as error:
        raise refused(f"{path} {error} name another one with --state") from None
    except OSError as error:
        raise refused(f"{path}: {error.strerror}; --state names another file for the state") from None
    with state:
        yield state


def _run(connection: Connection, card_ids: list[str], issuer_id: str, state: State, *, is_json: bool) -> None:
    left = [card_id for card_id in card_ids if card_id not in state.done]
    before = [state.done[card_id] for card_id in card_ids if card_id in state.done]
    if before:
        tell(f"resuming: {len(before)} of {len(card_ids)} cards are done, since {state.since_time:%Y-%m-%dT%H:%M:%SZ}")
    tally = Tally(len(card_ids), done=len(before), recovered=sum(before))
    has_ended = False
    try:
        with logged_to_stderr(), connected(connection) as client, display(tally) as shown:
            _fetch(client, left, issuer_id, state, tally, shown, is_json=is_json)
        has_ended = True
    except typer.Exit as end:
        if end.exit_code:
            raise
        raise refused("standard output: its reader is gone", FAILED) from None
    finally:
        if tally.has_begun or has_ended:
            tell(tally.summary() if has_ended else f"{tally.summary()}; not finished")
        if has_ended or not (tally.has_begun or state.done):
            _remove(state)
    if tally.failed:
        raise typer.Exit(_CARDS_FAILED)


def _remove(state: State) -> None:
    try:
        state.remove()
    except OSError as error:
        tell(f"delete {error.filename} before the next backfill: it says that the cards are done, and {error.strerror}")


def _fetch(
    client: GatewayClient,
    card_ids: list[str],
    issuer_id: str,
    state: State,
    tally: Tally,
    shown: Display,
    *,
    is_json: bool,
) -> None:
    try:
        for news in client.notifications.backfill(card_ids, since=state.since_time, issuer_id=issuer_id):
            if is_json:
                shown.put(to_json(news, indent=None))
            if isinstance(news, BackfillPause):
                tally.pause(news)
                shown.pause()
            else:
                _take(news, state, tally, shown, is_json=is_json)
    except GatewayError as error:
        raise refused(failure(error, client), FAILED) from None


def _take(card: CardBackfill, state: State, tally: Tally, shown: Display, *, is_json: bool) -> None:
    if card.error is None:
        try:
            state.add(card.card_id, card.recovered_count)
        except OSError as error:
            raise refused(f"the state file: {error.strerror}", FAILED) from None
    elif not is_json:
        shown.put(f"{card.card_id}  # {_why(card.error)}")
    tally.take(card)
    shown.update()


def _why(error: CardBackfillError) -> str:
    detail = error.detail or ErrorDetail()
    correlation = f" (correlation id {detail.correlation_id})" if detail.correlation_id else ""
    return one_line(f"{detail.reason}: {error.message}{correlation}")
