"""Logging belongs to a whole process: these tests look at what one writes to its standard error."""

import json
import subprocess
import sys
from typing import Any

import pytest

SCRIPT = """
import logging
import threading
import warnings

import structlog
from gateway.bootstrap import logging as logs
from gateway.logging import correlation
from gateway.logging.interpreter import log_instead_of_printing

early = structlog.get_logger("early")
logs.configure("info")
log_instead_of_printing()
log = structlog.get_logger("gateway")
library = logging.getLogger("asyncio")
server = logging.getLogger("aiohttp.server")

log.info("outside of any call")
correlation.use("an-id")
early.warning("made before", number=1, path=logging)
log.info("within a call", text='quote " and line\\nbreak', snowman="\\u2603")
log.debug("too quiet")
library.warning("of a library: %s", "value")
library.info("a library that is too quiet")
try:
    raise ValueError("the reason")
except ValueError:
    log.exception("ours broke")
    library.exception("theirs broke")
    server.exception("a request was malformed")
log.info("has its own", correlation_id="another-id")
# What JSON cannot hold is written somehow.
log.warning("strange", text="\\udcff", number=2**70)
library.warning("with too few arguments: %s %s", "one")
warnings.warn("something is deprecated")

class Unfinished:
    def __del__(self):
        raise ValueError("nobody can catch this")

Unfinished()
thread = threading.Thread(target=lambda: 1 // 0, name="a-thread")
thread.start()
thread.join()
print("printed to standard output")
raise RuntimeError("nobody caught this")
"""


@pytest.fixture(scope="module")
def lines() -> dict[str, dict[str, Any]]:
    """Return each line that was written, by its event, or a library's by its text."""
    done = subprocess.run(  # noqa: S603  (this very interpreter)
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, timeout=50
    )
    assert done.returncode == 1
    assert done.stdout == "printed to standard output\n"
    written = [json.loads(line) for line in done.stderr.splitlines()]
    return {line["message"] if line["event"] == "library_logged" else line["event"]: line for line in written}


def test_every_line_above_the_level_is_a_json_object_with_time_and_level(lines: dict[str, dict[str, Any]]) -> None:
    assert {event: line["level"] for event, line in lines.items()} == {
        "outside of any call": "info",
        "made before": "warning",
        "within a call": "info",
        "of a library: value": "warning",
        "ours broke": "error",
        "theirs broke": "error",
        "a request was malformed: ValueError": "error",
        "has its own": "info",
        "strange": "warning",
        "with too few arguments: %s %s": "warning",
        **{message: "warning" for message in lines if "something is deprecated" in message},
        "exception_ignored": "error",
        "thread_failed": "error",
        "process_failed": "critical",
    }
    assert [line for line in lines.values() if not line["timestamp"].endswith("Z")] == []


def test_a_line_carries_the_correlation_id_of_the_work_at_hand(lines: dict[str, dict[str, Any]]) -> None:
    assert "correlation_id" not in lines["outside of any call"]
    assert lines["has its own"]["correlation_id"] == "another-id"
    for event in ("within a call", "made before", "of a library: value"):
        assert lines[event]["correlation_id"] == "an-id"


def test_any_text_stays_on_one_line(lines: dict[str, dict[str, Any]]) -> None:
    assert (lines["within a call"]["text"], lines["within a call"]["snowman"]) == ('quote " and line\nbreak', "\u2603")
    assert lines["made before"]["number"] == 1


def test_an_exception_is_part_of_its_line(lines: dict[str, dict[str, Any]]) -> None:
    assert "ValueError: the reason" in lines["ours broke"]["exception"]
    assert "ValueError: the reason" in lines["theirs broke"]["exception"]


def test_what_a_library_writes_has_its_name_and_its_text(lines: dict[str, dict[str, Any]]) -> None:
    assert lines["of a library: value"]["logger"] == lines["with too few arguments: %s %s"]["logger"] == "asyncio"
    (warned,) = (line for line in lines.values() if line.get("logger") == "py.warnings")
    assert "UserWarning: something is deprecated" in warned["message"]


def test_what_python_would_print_of_exceptions_that_nobody_catches_is_logged(lines: dict[str, dict[str, Any]]) -> None:
    assert "nobody can catch this" in lines["exception_ignored"]["exception"]
    assert lines["thread_failed"]["thread"] == "a-thread"
    assert "ZeroDivisionError" in lines["thread_failed"]["exception"]
    assert "RuntimeError: nobody caught this" in lines["process_failed"]["exception"]


def test_what_aiohttp_quotes_of_a_malformed_request_is_left_out(lines: dict[str, dict[str, Any]]) -> None:
    assert "the reason" not in str(lines["a request was malformed: ValueError"])
