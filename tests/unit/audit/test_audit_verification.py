"""What somebody did to the files of a trail is found."""

import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Final

import orjson
import pytest

from gateway.audit.ids import Form, IdWriter
from gateway.audit.rpcs import NOT_RECORDED, recorded_rpc
from gateway.audit.seal import ORIGIN, Seal, read_line
from gateway.audit.verification import MissingKeyError, anchors_in, verify
from gateway.auth.policy import rpcs_of
from gateway.grpc_api.server import SERVICES
from tests.unit.audit.trails import KEY, files, keys_of, opened, verified, write

_PAGE: Final = Path(__file__).parents[3] / "docs/audit.md"


@pytest.fixture(params=[None, KEY], ids=["sha256", "hmac"])
async def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A trail of three files with nine lines."""
    for first in (0, 3, 6):
        async with opened(tmp_path, key=request.param) as trail:
            await write(trail, range(first, first + 3))
    return tmp_path


def _edit(file: Path, edit: Callable[[list[bytes]], list[bytes]]) -> None:
    file.write_bytes(b"".join(edit(file.read_bytes().splitlines(keepends=True))))


def _flip(file: Path) -> None:
    _edit(file, lambda lines: [*lines[:2], lines[2].replace(b'"number":4', b'"number":5'), *lines[3:]])


def _remove(file: Path) -> None:
    _edit(file, lambda lines: [*lines[:2], *lines[3:]])


def _swap(file: Path) -> None:
    _edit(file, lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]])


def _insert(file: Path) -> None:
    _edit(file, lambda lines: [*lines[:2], lines[1], *lines[2:]])


@pytest.mark.parametrize("attack", [_flip, _remove, _swap, _insert])
def test_a_changed_removed_reordered_or_inserted_line_is_named(folder: Path, attack: Callable[[Path], None]) -> None:
    assert verified(folder).findings == []
    second = files(folder)[1]
    attack(second)

    found = verified(folder).findings

    assert (found[0].file, found[0].line) == (str(second), 3)
    assert len(found) == 1


def test_a_missing_file_is_found_and_missing_first_ones_are_told(folder: Path) -> None:
    first, second, _ = files(folder)
    aside = second.rename(folder / "aside")
    assert "files are missing" in verified(folder).findings[0].what
    aside.rename(second)

    first.unlink()

    found = verified(folder)
    assert found.findings == []
    assert found.notes == [f"{second} is not the first file of its trail: what was before is not checked"]


def test_a_file_of_another_trail_is_one_of_its_own_and_anything_else_is_found(folder: Path) -> None:
    stranger = folder / "audit-1-00000009.jsonl"
    stranger.write_bytes(b"foreign\n")

    first, trail = verify(files(folder), keys_of(folder), {})

    assert (first.trail, first.findings[0].file) == ("", str(stranger))
    assert trail.findings == []


async def test_a_file_put_in_the_place_of_another_is_found(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    async with opened(other) as trail:
        await write(trail, range(3))
    files(folder)[1].write_bytes(files(other)[0].read_bytes())

    found = {each.trail: each for each in verify(files(folder), [KEY], {})}

    assert len(found) == 2
    assert any("files are missing" in finding.what for each in found.values() for finding in each.findings)


def test_a_cut_off_end_is_found_by_an_anchor_alone(folder: Path) -> None:
    end = verified(folder)
    log = folder / "log"
    anchor = {"event": "audit_anchor", "trail": end.trail, "sequence": end.end.sequence, "hash": end.end.hash}
    log.write_bytes(b"not JSON with audit_anchor\n" + orjson.dumps(anchor) + b"\n")
    assert verified(folder, anchors_in(log)).findings == []

    _edit(files(folder)[2], lambda lines: lines[:-2])

    assert verified(folder).findings == []
    (finding,) = verified(folder, anchors_in(log)).findings
    assert "lines are missing" in finding.what


async def test_an_end_that_was_cut_off_is_found_though_a_gateway_went_on_from_there(folder: Path) -> None:
    def named() -> bytes:
        end = verified(folder)
        facts = {"event": "audit_anchor", "trail": end.trail, "sequence": end.end.sequence, "hash": end.end.hash}
        return orjson.dumps(facts) + b"\n"

    before = named()
    _edit(files(folder)[-1], lambda lines: lines[:-2])
    # It writes as many lines as were cut off, and names the last one.
    async with opened(folder, key=next(iter(keys_of(folder)), None)):
        pass
    log = folder / "log"
    log.write_bytes(before + named())

    assert verified(folder).findings == []
    finding, *_ = verified(folder, anchors_in(log)).findings
    assert "the log names another hash for it" in finding.what


def test_lines_of_a_log_that_only_look_like_anchors_are_skipped(folder: Path) -> None:
    trail, log = verified(folder).trail, folder / "log"
    anchor = {"event": "audit_anchor", "trail": trail, "sequence": 1, "hash": "other"}
    likes = [
        orjson.dumps(anchor | {"event": "rpc_failed", "correlation_id": "audit_anchor"}),
        b'["audit_anchor"]',
        b'"audit_anchor"' + b"[" * 100_000,
        b'{"event":"audit_anchor","trail":[],"sequence":1,"hash":"other"}',
        b'{"event":"audit_anchor","trail":"%b","sequence":"%b","hash":"other"}' % (trail.encode(), b"9" * 5_000),
        b'{"event":"audit_anchor","trail":"\xff\x00","sequence":1,"hash":"other"}',
    ]
    log.write_bytes(b"\n".join(likes))

    assert verified(folder, anchors_in(log)).findings == []


def _write_anew(file: Path, old: bytes, new: bytes) -> None:
    """Write a trail that has no key with other content, as anybody can."""
    forged, link = list[bytes](), ORIGIN
    for text in file.read_bytes().replace(old, new).splitlines():
        members = text.rpartition(b',"hash":')[0].split(b",", 2)[2]
        again, link = Seal(None).line(link, members)
        forged.append(again)
    file.write_bytes(b"".join(forged))


async def test_who_has_no_key_writes_a_trail_anew_that_an_anchor_betrays(tmp_path: Path) -> None:
    async with opened(tmp_path, key=None) as trail:
        await write(trail, range(3))
    end = verified(tmp_path)
    anchors = {end.trail: {end.end.sequence: end.end.hash}}
    (file,) = files(tmp_path)
    _write_anew(file, b'"number":1', b'"number":7')

    assert verified(tmp_path).findings == []
    assert "written anew" in verified(tmp_path, anchors).findings[0].what


async def test_a_trail_without_a_name_is_none(tmp_path: Path) -> None:
    async with opened(tmp_path, key=None) as trail:
        await write(trail, range(3))
    (file,) = files(tmp_path)
    _write_anew(file, verified(tmp_path).trail.encode(), b"")

    assert "it is not the first line of an audit file" in verified(tmp_path).findings[0].what


async def test_a_trail_that_somebody_has_written_anew_without_a_key_is_not_taken_for_one_with_it(
    tmp_path: Path,
) -> None:
    # The gateway goes on with what it finds.
    for key in (None, KEY, None):
        async with opened(tmp_path, key=key) as trail:
            await write(trail, range(3))
    first, _, last = files(tmp_path)

    (found,) = verify(files(tmp_path), [KEY], {})

    what = "no key seals it: anybody can have written it"
    assert [(each.file, each.what) for each in found.findings] == [(str(first), what), (str(last), what)]


async def test_a_line_of_another_key_is_found_and_a_key_that_is_not_given_is_named(tmp_path: Path) -> None:
    async with opened(tmp_path) as trail:
        await write(trail, range(3))
    with pytest.raises(MissingKeyError, match=Seal(KEY).key_id):
        verify(files(tmp_path), [], {})
    (file,) = files(tmp_path)
    texts = file.read_bytes().splitlines(keepends=True)
    line = read_line(texts[1])
    assert line is not None
    forged = hmac.digest(b"another key" + bytes(21), line.sealed, "sha256").hex()
    file.write_bytes(b"".join([texts[0], texts[1].replace(line.link.hash.encode(), forged.encode()), *texts[2:]]))

    assert verified(tmp_path).findings[0].line == 2


async def test_a_trail_goes_on_under_another_key_and_is_checked_with_both(tmp_path: Path) -> None:
    other = bytes(32)
    for key in (KEY, other, KEY):
        async with opened(tmp_path, key=key) as trail:
            await write(trail, [0])

    (found,) = verify(files(tmp_path), [other, KEY], {})

    assert (found.findings, found.lines) == ([], 9)


@pytest.mark.parametrize(
    ("form", "value", "written"),
    [
        ("plain", "card-1", "card-1"),
        ("plain", "4970101234567890", "****7890"),
        ("plain", "x-4970-1012-3456-7890", "x-****7890"),
        ("masked", "card-000123", "****0123"),
        ("masked", "card-1", "****"),
        ("keyed", "card-1", hmac.digest(KEY, b"card_id:card-1", "sha256").hex()),
        ("keyed", "", ""),
    ],
)
def test_ids_are_written_as_the_settings_say_and_no_card_number_ever(form: Form, value: str, written: str) -> None:
    assert IdWriter(form, KEY).write("card_id", value) == written


def test_the_documented_key_id_is_computed_as_the_page_says() -> None:
    assert Seal(KEY).key_id == hmac.new(KEY, b"key id", hashlib.sha256).hexdigest()[:16]


def test_the_page_lists_every_rpc_that_is_recorded_and_why_others_are_not() -> None:
    recorded = {rpc for rpc in rpcs_of(SERVICES) if recorded_rpc(rpc) is not None}
    page = _PAGE.read_text()
    listed, others = page.split("Not recorded")[0], page.split("Not recorded")[1]

    assert {rpc.rpartition(".")[2] for rpc in recorded} == {
        name for name in _names(listed) if not name.startswith("Callback")
    }
    assert {rpc.rpartition(".")[2] for rpc in NOT_RECORDED} <= _names(others)


def _names(text: str) -> set[str]:
    return {word for word in text.split("`") if "Service/" in word and " " not in word}
