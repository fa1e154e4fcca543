"""The rule for private files, in the gateway and in its client, which share no code."""

import os
import stat
from collections.abc import Callable

import pytest

from d1_gateway_client import _private_file
from gateway.settings import private_files

_Rule = Callable[[os.stat_result, int], str]
_ROOT, _GATEWAY, _STRANGER = 0, 4_000_000, 4_000_001

both = pytest.mark.parametrize("fault", [private_files.fault, _private_file.fault])


def _owner(user_id: int, fault: _Rule) -> str:
    return "root (0)" if user_id == _ROOT and fault is private_files.fault else f"user {user_id}"


def _status(owner: int, mode: int) -> os.stat_result:
    return os.stat_result((stat.S_IFREG | mode, 1, 1, 1, owner, 4242, 1, 0, 0, 0))


@both
@pytest.mark.parametrize(
    ("owner", "mode"),
    [(_GATEWAY, 0o600), (_GATEWAY, 0o400), (_ROOT, 0o600), (_ROOT, 0o640), (_ROOT, 0o440)],
)
def test_a_file_for_the_user_alone_or_for_root_and_a_group_is_private(fault: _Rule, owner: int, mode: int) -> None:
    assert fault(_status(owner, mode), _GATEWAY) == ""


@both
def test_a_process_of_root_may_share_its_file_with_a_group_too(fault: _Rule) -> None:
    assert fault(_status(_ROOT, 0o640), _ROOT) == ""
    assert fault(_status(_GATEWAY, 0o600), _ROOT), "its owner could change it"


@both
@pytest.mark.parametrize(
    ("owner", "mode"),
    [
        *((_GATEWAY, mode) for mode in (0o640, 0o440, 0o620, 0o610, 0o604, 0o602, 0o601, 0o777)),
        *((_ROOT, mode) for mode in (0o644, 0o444, 0o660, 0o650, 0o641, 0o642)),
        *((_STRANGER, mode) for mode in (0o600, 0o400, 0o440)),
    ],
)
def test_any_other_file_is_refused_with_its_owner_its_mode_and_the_rule(fault: _Rule, owner: int, mode: int) -> None:
    text = fault(_status(owner, mode), _GATEWAY)

    assert text.startswith(f"owner {_owner(owner, fault)}, mode {mode:04o}; ")
    assert f"must belong to user {_GATEWAY} with mode 0600 or less" in text
    assert "or to root with mode 0640 or less" in text
