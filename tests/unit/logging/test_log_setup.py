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


def test_every_line_is_a_json_object_with_time_and_level(lines: dict[str, dict[str, Any]]) -> None:
    assert len(lines) == 9
    for line in lines.values():
        assert line["timestamp"].endswith("Z")
        assert line["level"] in {"info", "warning", "error"}


def test_a_line_carries_the_correlation_id_of_the_work_at_hand(lines: dict[str, dict[str, Any]]) -> None:
    assert lines["within a call"]["correlation_id"] == "an-id"
    assert "correlation_id" not in lines["outside of any call"]
    assert lines["has its own"]["correlation_id"] == "another-id"


def test_a_logger_made_before_obeys_all_the_same(lines: dict[str, dict[str, Any]]) -> None:
    assert lines["made before"]["number"] == 1
    assert lines["made before"]["correlation_id"] == "an-id"


def test_any_text_stays_on_one_line(lines: dict[str, dict[str, Any]]) -> None:
    assert lines["within a call"]["text"] == 'quote " and line\nbreak'
    assert lines["within a call"]["snowman"] == "\u2603"


def test_libraries_write_the_same_lines(lines: dict[str, dict[str, Any]]) -> None:
    line = lines["of a library: value"]

    assert (line["level"], line["correlation_id"]) == ("warning", "an-id")


@pytest.mark.parametrize("event", ["ours broke", "theirs broke"])
def test_an_exception_is_part_of_its_line(lines: dict[str, dict[str, Any]], event: str) -> None:
    assert lines[event]["level"] == "error"
    assert "ValueError: the reason" in lines[event]["exception"]


def test_what_aiohttp_quotes_of_a_malformed_request_is_left_out(lines: dict[str, dict[str, Any]]) -> None:
    line = lines["a request was malformed: ValueError"]

    assert line["level"] == "error"
    assert "the reason" not in str(line)


def test_what_is_below_the_level_is_not_written(lines: dict[str, dict[str, Any]]) -> None:
    assert "too quiet" not in lines
    assert "a library that is too quiet" not in lines


def test_what_json_cannot_hold_is_written_somehow(lines: dict[str, dict[str, Any]]) -> None:
    assert lines["strange"]["level"] == "warning"
