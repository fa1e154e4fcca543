import re

import pytest

from gateway.cli.progress import NOTIFICATIONS, _Lines


def test_where_there_is_no_terminal_a_line_now_and_then_tells_rate_and_time_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with _Lines(NOTIFICATIONS, pause_seconds=600) as lines:
        lines.show(0, 1000)
        # As if it had begun, and shown nothing, for so long.
        lines._started -= 1000
        lines._last_shown -= 1000
        lines.show(400, 1000)
        lines.show(500, 1000)

    lines_shown = capsys.readouterr().err.splitlines()
    assert len(lines_shown) == 1
    assert re.fullmatch(r"d1-gateway: 400 of 1000 notifications, 0/s, 1[45]\d\d s left", lines_shown[0])


def test_a_rate_of_nothing_tells_no_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    with _Lines(NOTIFICATIONS, pause_seconds=0.0) as lines:
        lines.show(0, 1000)

    assert capsys.readouterr().err == "d1-gateway: 0 of 1000 notifications, 0/s\n"
