"""Logging belongs to a whole process: these tests look at what one writes to its standard error."""

import json
import subprocess
import sys
from typing import Any

import pytest

SCRIPT = """
import logging
import structlog
from gateway.bootstrap import logging as logs
from gateway.logging import correlation

early = structlog.get_logger("early")
logs.configure("info")
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
print("printed to standard output")
"""


@pytest.fixture(scope="module")
def lines() -> dict[str, dict[str, Any]]:
    """Return each line that was written, by its event."""
    done = subprocess.run(  # noqa: S603  (this very interpreter)
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=50
    )
    assert done.stdout == "printed to standard output\n"
    written = [json.loads(line) for line in done.stderr.splitlines()]
    return {line["event"]: line for line in written}


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


def test_what_aiohttp_quotes_of_a_malformed_request_is_left_out(lines: dict[str, dict[str, Any]]) -> None:
    assert "the reason" not in str(lines["a request was malformed: ValueError"])
