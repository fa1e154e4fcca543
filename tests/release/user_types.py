"""What mypy says about the code of a user."""

import re

from mypy import api

from tests.release.environments import Environment

__all__ = ["type_errors"]


def type_errors(environment: Environment, **modules: str) -> list[tuple[str, str]]:
    """Check modules strictly against what an environment has installed; return module and code of each error."""
    files = {environment.work / f"{name}.py": source for name, source in modules.items()}
    for file, source in files.items():
        file.write_text(source)
    # This project's settings are not a user's.
    options = ["--strict", "--config-file=", f"--cache-dir={environment.work / 'mypy'}"]
    printed, failure, _ = api.run([*options, f"--python-executable={environment.python}", *map(str, files)])
    assert failure == ""
    return sorted(re.findall(r"(\w+)\.py:.*\[([a-z-]+)\]$", printed, re.MULTILINE))
