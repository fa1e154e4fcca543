"""``python -m bench.cluster [--quick]``: this scenario alone."""

from bench.alone import run_alone
from bench.cluster import measure_cluster

__all__: list[str] = []

if __name__ == "__main__":
    run_alone(measure_cluster)
