"""Asks for secrets on the terminal, without showing what is typed."""

import getpass
import warnings

from gateway.tls.key_generation import KeyMakingError

__all__ = ["ask", "ask_twice"]


def ask(what: str) -> bytes:
    """Ask for a secret.

    Args:
        what: Its name, such as ``passphrase``.

    Raises:
        KeyMakingError: There is no terminal to ask on, or nothing was typed.
    """
    return _typed(what, what.capitalize())


def ask_twice(what: str) -> bytes:
    """Ask for a new secret, and for the same again.

    Args:
        what: Its name, such as ``passphrase``.

    Raises:
        KeyMakingError: There is no terminal to ask on, nothing was typed, or not the same.
    """
    first = _typed(what, what.capitalize())
    if _typed(what, f"The same {what} again") != first:
        raise KeyMakingError(f"the {what} was not the same both times")
    return first


def _typed(what: str, prompt: str) -> bytes:
    try:
        with warnings.catch_warnings():
            # It warns before it would read with the echo on.
            warnings.simplefilter("error", getpass.GetPassWarning)
            typed = getpass.getpass(f"{prompt}: ").encode()
    except getpass.GetPassWarning as error:
        raise KeyMakingError(f"there is no terminal to ask for the {what} on") from error
    except EOFError:
        typed = b""
    except UnicodeError as error:
        raise KeyMakingError(f"the {what} is no UTF-8 text") from error
    if not typed:
        raise KeyMakingError(f"the {what} is empty")
    return typed
