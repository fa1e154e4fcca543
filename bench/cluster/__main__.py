"""``python -m bench.cluster [--quick]``: this scenario alone."""

from bench.cluster import measure_cluster
from bench.common.report import run_alone

__all__: list[str] = []

if __name__ == "__main__":
    run_alone(measure_cluster)
