"""The alerting rules of ``deploy/observability``: promtool plays each one, and the runbook has an entry for it."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.observability.named_series import RULE_FILES, expressions
from tests.integration.observability.rule_cases import CASES, Case

_RUNBOOK = Path(__file__).parents[3] / "docs" / "runbook.md"

_PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(_PROMTOOL is None, reason="promtool is not installed: Debian's package prometheus")


@cache
def _alerts() -> dict[str, Any]:
    groups = yaml.safe_load(RULE_FILES[1].read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def _promtool(*arguments: str | Path) -> None:
    assert _PROMTOOL is not None
    ended = subprocess.run([_PROMTOOL, *arguments], capture_output=True, text=True, check=False, timeout=50)  # noqa: S603
    assert ended.returncode == 0, ended.stdout + ended.stderr


def _test(case: Case, series: Mapping[str, str], expected: list[Any]) -> dict[str, Any]:
    return {
        "name": case.alert,
        "interval": "1m",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "alert_rule_test": [{"eval_time": case.at, "alertname": case.alert, "exp_alerts": expected}],
    }


@needs_promtool
def test_the_rules_are_well_formed() -> None:
    _promtool("check", "rules", *RULE_FILES)


@needs_promtool
def test_the_queries_of_the_panels_are_well_formed(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(expressions())]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    _promtool("check", "rules", file)


@needs_promtool
@pytest.mark.parametrize("does_fire", [True, False])
def test_each_alert_fires_when_it_should_and_says_why(tmp_path: Path, *, does_fire: bool) -> None:
    alerts = _alerts()
    # What is recorded comes first.
    groups = [group["name"] for file in RULE_FILES for group in yaml.safe_load(file.read_text())["groups"]]
    # Rules are evaluated from the start to the end: every minute of a day would take promtool a minute.
    tests: dict[str, list[Any]] = {"1m": [], "30m": []}
    for case in CASES:
        rule = alerts[case.alert]
        alert = {
            "exp_labels": {**case.labels, **rule["labels"]},
            "exp_annotations": {**rule["annotations"], "description": case.description},
        }
        series, expected = (case.fires, [alert]) if does_fire else (case.quiet, [])
        tests["30m" if case.at.endswith("h") else "1m"].append(_test(case, series, expected))
    for interval, played in tests.items():
        suite = {
            # What is recorded matters for hours, and takes a third of the time.
            "rule_files": [str(file) for file in (RULE_FILES if interval == "30m" else RULE_FILES[1:])],
            "group_eval_order": groups,
            "evaluation_interval": interval,
            "tests": played,
        }
        (tmp_path / f"{interval}.yaml").write_text(yaml.safe_dump(suite))

    _promtool("test", "rules", *tmp_path.iterdir())


def test_every_alert_is_played_and_no_other() -> None:
    assert [case.alert for case in CASES] == list(_alerts())


def test_every_alert_has_a_severity_words_and_its_entry_in_the_runbook() -> None:
    for name, rule in _alerts().items():
        assert rule["labels"].keys() == {"severity"}, name
        assert rule["labels"]["severity"] in {"critical", "warning"}, name
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}, name
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"


def test_the_runbook_has_an_entry_for_every_alert_and_each_says_what_to_do() -> None:
    page = _RUNBOOK.read_text()
    entries = dict(re.findall(r"^### (D1Gateway\w+)\n\n(.+?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL))

    assert list(entries) == list(_alerts())
    for name, entry in entries.items():
        severity = _alerts()[name]["labels"]["severity"]
        assert entry.startswith(f"*{severity}.* "), name
        parts = re.findall(r"^- \*\*(\w+):\*\*", entry, re.MULTILINE)
        assert parts == ["Affected", "Check", "Act", "Escalate"], name
