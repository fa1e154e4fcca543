"""The series and labels that the dashboard and the rules of ``deploy/observability`` name."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

__all__ = ["DASHBOARD", "RULE_FILES", "expressions", "grouped", "named", "recorded"]

_FOLDER = Path(__file__).parents[3] / "deploy" / "observability"
RULE_FILES = [_FOLDER / "prometheus" / "recording.yaml", _FOLDER / "prometheus" / "alerts.yaml"]
DASHBOARD = _FOLDER / "grafana" / "dashboards" / "d1-gateway.json"

_RECORDED = re.compile(r"\bjob:[\w:]+")
_SERIES = re.compile(r"(?<![\w:])((?:d1_gateway|process)_\w+)(?![\w:(])(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"(\w+)\s*[=!]~?")
_GROUPING = re.compile(r"\b(?:by|on)\s*\(([^)]*)\)")
_VARIABLES = {"$__rate_interval": "5m", "$__range": "1h", "$job": ".+", "$instance": ".+"}


def expressions() -> Iterator[str]:
    """Yield every expression of panels and rules, those of panels with values for Grafana's variables."""
    for file in RULE_FILES:
        for group in yaml.safe_load(file.read_text())["groups"]:
            yield from (rule["expr"] for rule in group["rules"])
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            expression: str = target["expr"]
            for variable, value in _VARIABLES.items():
                expression = expression.replace(variable, value)
            yield expression


def named(expression: str) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield each series that an expression names, with the labels that it is selected by."""
    for name, matchers in _SERIES.findall(expression):
        yield name, frozenset(_MATCHER.findall(matchers)) - {"job", "instance"}


def grouped(expression: str) -> Iterator[str]:
    """Yield each label that an expression groups or joins by."""
    for labels in _GROUPING.findall(expression):
        yield from (label for label in re.split(r"[,\s]+", labels) if label not in {"", "job", "instance"})


def recorded() -> Mapping[bool, frozenset[str]]:
    """Return the recorded series that are recorded (True), and those that expressions name (False)."""
    groups = yaml.safe_load(RULE_FILES[0].read_text())["groups"]
    made = frozenset(rule["record"] for group in groups for rule in group["rules"])
    used = frozenset(name for expression in expressions() for name in _RECORDED.findall(expression))
    return {True: made, False: used}
