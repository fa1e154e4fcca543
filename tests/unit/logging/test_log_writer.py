"""Lines on their way to somebody who reads them slowly, not at all, or no more."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path

import pytest

from gateway.logging.writer import LogWriter

_PIPE_BYTES = 65_536
_AT_ONCE_SECONDS = 0.5


class Pipe:
    """A pipe with nobody at its end yet."""

    def __init__(self) -> None:
        reading, self.writing = os.pipe()
        self.reading = FileIO(reading)
        self.writer = LogWriter(self.writing, max_waiting=1_000)

    def read(self, until: bytes) -> bytes:
        """Read until a line has come with something in it."""
        found = b""
        while until not in found[: found.rfind(b"\n") + 1]:
            found += self.reading.read(_PIPE_BYTES) or b""
        return found


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    # In this order nobody writes to a descriptor that is somebody else's by then.
    pipe.reading.close()
    pipe.writer.finish()
    os.close(pipe.writing)


def line(number: int, length: int = 20) -> bytes:
    return f"{number:0{length - 1}}\n".encode()


def soon(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_lines_arrive_whole_and_in_order_from_every_thread(pipe: Pipe) -> None:
    writer = pipe.writer

    def write(base: int) -> None:
        for number in range(300):
            writer.write(line(base + number))

    with ThreadPoolExecutor() as threads:
        threads.map(write, (1000, 2000))
    writer.write(b"end\n")

    numbers = [int(each) for each in pipe.read(b"end\n").split()[:-1]]
    assert [each for each in numbers if each < 2000] == [*range(1000, 1300)]
    assert [each for each in numbers if each >= 2000] == [*range(2000, 2300)]
    assert writer.lost_count == 0


def test_a_reader_that_stops_holds_nobody_up_and_learns_later_how_much_it_missed(pipe: Pipe) -> None:
    writer = pipe.writer

    def write() -> float:
        began = time.monotonic()
        for number in range(3_000):
            writer.write(line(number, 1_000))
        return time.monotonic() - began

    # The least of some, as a busy machine may hold up any of them.
    assert min(write() for _ in range(3)) < _AT_ONCE_SECONDS
    assert writer.lost_count > 0

    os.set_blocking(pipe.reading.fileno(), False)
    found = bytearray()

    def has_been_told_all() -> bool:
        # It is told with what comes next.
        writer.write(b"next\n")
        while read := pipe.reading.read(_PIPE_BYTES):
            found.extend(read)
        whole = found[: found.rfind(b"\n") + 1].splitlines()
        told = sum(json.loads(each)["lines"] for each in whole if b"log_lines_lost" in each)
        return bool(told == writer.lost_count)

    soon(has_been_told_all)


def test_a_reader_that_is_gone_is_nobodys_failure(pipe: Pipe) -> None:
    writer = pipe.writer
    pipe.reading.close()

    for number in range(5):
        writer.write(line(number))
    writer.finish()

    assert writer.lost_count == 5


def test_where_there_is_no_room_lines_are_lost_and_told_of_when_there_is(tmp_path: Path) -> None:
    file = tmp_path / "log"
    script = f"""
import os, resource
from gateway.logging.writer import LogWriter
writer = LogWriter(os.open({str(file)!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (25, most))
for number in range(5):
    writer.write(b'{{"number":%d}}\\n' % number)
writer.finish()
assert writer.lost_count == 4, writer.lost_count
writer.write(b'{{"number":5}}\\n')
writer.finish()
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
writer.write(b'{{"number":6}}\\n')
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)  # noqa: S603 (this very interpreter)

    first, torn, told, last = file.read_bytes().splitlines()
    assert (first, torn, last) == (b'{"number":0}', b'{"number":1}'[: len(torn)], b'{"number":6}')
    assert json.loads(told)["lines"] == 5


def test_what_waits_when_the_process_ends_is_still_written(pipe: Pipe) -> None:
    script = f"""
from gateway.logging.writer import LogWriter
writer = LogWriter({pipe.writing})
for number in range(1_000):
    writer.write(b"%d\\n" % number)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=50, pass_fds=[pipe.writing])  # noqa: S603

    assert [int(each) for each in pipe.read(b"999\n").split()] == [*range(1_000)]


def test_a_pipe_that_does_not_wait_is_waited_for(pipe: Pipe) -> None:
    os.set_blocking(pipe.writing, False)
    writer = pipe.writer
    for number in range(200):
        writer.write(line(number, 1_000))
    time.sleep(0.2)

    numbers = [int(each) for each in pipe.read(line(199, 1_000)).split()]

    assert numbers == [*range(200)]
    soon(lambda: writer.lost_count == 0)
