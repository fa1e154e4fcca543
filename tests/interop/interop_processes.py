"""Client programs whose output is read as it is printed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Program", "environment", "running"]


def environment(**more: str) -> Mapping[str, str]:
    """Return the environment of a program: the tools installed beside Python are on PATH."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", **more}


class Program:
    """A running program that prints and reads JSON objects. Made by `running`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def say(self, *messages: object) -> None:
        """Write JSON objects to it, one per line."""
        assert self._process.stdin is not None
        self._process.stdin.writelines(json.dumps(message) + "\n" for message in messages)
        self._process.stdin.flush()

    def hear(self) -> Any:
        """Read the next JSON object that it prints, on one line or several."""
        assert self._process.stdout is not None
        text = ""
        for line in self._process.stdout:
            text += line
            # Within a multi-line object every line is indented.
            if line.rstrip().endswith("}") and not line.startswith(" "):
                return json.loads(text)
        raise AssertionError(f"it ended with {self._process.wait()}: {self.complaint()}")

    def said(self) -> Sequence[str]:
        """Return the lines of its standard output, once it has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.read().splitlines()

    def complaint(self) -> str:
        """Return its standard error, once it has ended."""
        assert self._process.stderr is not None
        return self._process.stderr.read()

    def ended(self) -> int:
        """Wait for its end; return the exit status."""
        return self._process.wait(timeout=30)


@contextmanager
def running(command: Sequence[str | Path], folder: Path, **variables: str) -> Iterator[Program]:
    """Run a program, at most for the duration of the block."""
    pipe = subprocess.PIPE
    with subprocess.Popen(  # noqa: S603 (what the tests name)
        command, cwd=folder, env=environment(**variables), stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            yield Program(process)
        finally:
            process.kill()
