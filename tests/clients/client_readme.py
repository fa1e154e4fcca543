"""The Python snippets of the client's README."""

import re
from pathlib import Path

__all__ = ["README", "snippets"]

README = Path(__file__).parents[2] / "clients" / "python" / "README.md"


def snippets() -> dict[str, str]:
    """Return them by section heading; each section has at most one."""
    found = {}
    for section in README.read_text().split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        assert len(blocks) <= 1, title
        if blocks:
            found[title] = blocks[0]
    return found
