"""``python -m bench.scaling [--quick]``: this scenario alone."""

from bench.common.report import run_alone
from bench.scaling import measure_scaling

__all__: list[str] = []

if __name__ == "__main__":
    run_alone(measure_scaling)
