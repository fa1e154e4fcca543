from pathlib import Path

import pytest

from tests.e2e.command import d1_gateway


@pytest.fixture
def alone(settings: str, tmp_path: Path) -> Path:
    """Settings of a gateway that shares nothing."""
    file = tmp_path / "settings.toml"
    file.write_text(settings.partition("[nats]")[0])
    return file


async def test_several_workers_without_nats_are_refused_with_why_and_what_to_do(alone: Path) -> None:
    ended = await d1_gateway("serve", "--config", alone, "--workers", "2")

    assert ended.status == 2
    assert len(ended.mistakes) == 1
    assert "the embedded event log belongs to one process" in ended.mistakes[0]
    assert "set [nats], or leave --workers out" in ended.mistakes[0]


async def test_no_worker_at_all_is_refused(alone: Path) -> None:
    ended = await d1_gateway("serve", "--config", alone, "--workers", "0")

    assert ended.status == 2
    assert "--workers" in ended.stderr


async def test_settings_that_cannot_be_used_are_told_once(settings: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(settings.replace("SANDBOX001", "SHORT"))
    ended = await d1_gateway("serve", "--config", file, "--workers", "3")

    assert ended.status == 2
    assert [line for line in ended.mistakes if "issuers.SHORT" in line] == ended.mistakes
    assert len(ended.mistakes) == 1


async def test_what_only_a_worker_finds_out_is_told_once_as_well(settings: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(settings)
    (tmp_path / "keys" / "d1-encryption-public.jwk.json").write_text("{}")
    ended = await d1_gateway("serve", "--config", file, "--workers", "3")

    assert ended.status == 2
    assert len([line for line in ended.mistakes if line.startswith("d1-gateway: ")]) == 1
    assert "d1_encryption_keys.0.file" in ended.stderr
