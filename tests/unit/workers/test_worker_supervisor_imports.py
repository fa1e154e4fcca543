import subprocess
import sys


def test_a_supervisor_imports_neither_grpc_nor_the_gateway() -> None:
    script = "import sys, gateway.workers.__main__; print(*sorted(sys.modules))"
    done = subprocess.run(  # noqa: S603 (this very interpreter)
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=50
    )

    loaded = set(done.stdout.split())
    assert "gateway.workers.supervisor" in loaded
    assert loaded.isdisjoint({"grpc", "google.protobuf", "gateway.bootstrap", "uvloop"})
