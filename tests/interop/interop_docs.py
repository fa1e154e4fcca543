"""The code of ``docs/interoperability.md``."""

import re
from pathlib import Path
from types import SimpleNamespace

__all__ = ["DOCUMENT", "blocks", "program"]

DOCUMENT = Path(__file__).parents[2] / "docs" / "interoperability.md"


def blocks(title: str, language: str) -> list[str]:
    """Return the code blocks of a language under a heading, in order."""
    sections = dict(section.split("\n", 1) for section in DOCUMENT.read_text().split("\n## ")[1:])
    return re.findall(rf"^```{language}\n(.*?)^```$", sections[title], re.MULTILINE | re.DOTALL)


def program(title: str) -> SimpleNamespace:
    """Run the only Python block under a heading; return its names."""
    (code,) = blocks(title, "python")
    known: dict[str, object] = {}
    exec(compile(code, f"{DOCUMENT.name}: {title}", "exec"), known)  # noqa: S102 (our own)
    return SimpleNamespace(**known)
