"""TOML files as people write them."""

import tomllib
from typing import Any

__all__ = ["read_toml"]


def read_toml(content: bytes) -> dict[str, Any]:
    """Read a TOML document.

    Raises:
        ValueError: It is none. The text says where.
    """
    try:
        # Some editors write a byte order mark, which is invalid in TOML.
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"it is not UTF-8 text (at line {line}): save it in that encoding") from None
    except RecursionError:
        raise ValueError("its values nest too deeply") from None
