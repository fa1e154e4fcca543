"""Log configuration of every process: one JSON object per line on standard error."""

import json
import logging
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final, cast

import orjson
import structlog

from gateway.logging.writer import LogWriter

__all__ = ["WRITER", "configure"]

_STANDARD_ERROR: Final = 2

WRITER: Final = LogWriter(_STANDARD_ERROR)
"""The only writer of a process, as a process has one standard error."""


def configure(level: str, *context: structlog.types.Processor) -> None:
    """Configure structlog, and the standard library's logging for libraries.

    Args:
        level: Lowest level that is written.
        context: Processors that add context to each line.
    """
    shared: list[structlog.types.Processor] = [
        *context,
        _stamp,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, _render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.BytesLoggerFactory(cast("BinaryIO", WRITER)),
        cache_logger_on_first_use=True,
    )
    handler = _Handler()
    as_text = structlog.processors.JSONRenderer(serializer=lambda value, **_: _dumps(value).decode())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processor=as_text, foreign_pre_chain=[_as_of_library, *shared])
    )
    # Libraries' messages below warning (paths, peers, bytes of a bad request) stay out of the log.
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("aiohttp.server").addFilter(_without_quotation)


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            WRITER.write(f"{self.format(record)}\n".encode())
        except Exception:  # noqa: BLE001 (as the standard library's handlers do, which print the failure as text)
            WRITER.write(_dumps(_of_library(record, str(record.msg))) + b"\n")


def _of_library(record: logging.LogRecord, message: str) -> dict[str, Any]:
    event = {"event": "library_logged", "logger": record.name, "message": message}
    return {**event, "level": record.levelname.lower(), "timestamp": datetime.now(UTC)}


def _as_of_library(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    # A fixed name, as every event has, and the text beside it.
    return {**event, "event": "library_logged", "logger": event["_record"].name, "message": event["event"]}


def _without_quotation(record: logging.LogRecord) -> bool:
    # aiohttp's exception for a malformed request quotes it, and a request may hold a token or card data.
    if record.exc_info and record.exc_info[0] is not None:
        record.msg, record.args = f"{record.getMessage()}: {record.exc_info[0].__name__}", ()
        record.exc_info = record.exc_text = None
    return True


def _dumps(value: object, **_: object) -> bytes:
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_UTC_Z)
    except TypeError:
        # A lone surrogate, or a number beyond 64 bits: a log line must not break the work that it reports.
        return json.dumps(value, default=_text).encode()


def _text(value: object) -> str:
    return f"{value:%FT%T.%fZ}" if isinstance(value, datetime) else str(value)


def _stamp(_: object, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["level"] = level
    # orjson formats it; structlog's own time stamp would take longer than the rest of the line.
    event["timestamp"] = datetime.now(UTC)
    return event


def _render(_: object, __: str, event: MutableMapping[str, Any]) -> bytes:
    return _dumps(event)
