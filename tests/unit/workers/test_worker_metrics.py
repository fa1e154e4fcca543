"""The metrics of several workers, read as a scrape has them, put together and written again."""

from collections.abc import Iterable

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry.metrics import Metrics
from gateway.workers.merging import Scrape, growing, merged


class _Worker:
    """What one worker counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.rpcs = Counter("d1_gateway_rpcs", "Rpcs.", ("rpc",), registry=self.registry)
        self.seconds = Histogram("d1_gateway_rpc_duration_seconds", "Time.", buckets=(0.1, 1), registry=self.registry)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        gauge = Gauge(name, "A gauge.", tuple(labels), registry=self.registry)
        (gauge.labels(**labels) if labels else gauge).set(value)

    def scrape(self) -> list[Metric]:
        return list(text_string_to_metric_families(generate_latest(self.registry).decode()))


def _samples(scrapes: Iterable[Scrape]) -> dict[str, float]:
    """Put together, write and read again."""

    class Collector:
        def collect(self) -> list[Metric]:
            return merged(scrapes)

    registry = CollectorRegistry()
    registry.register(Collector())
    lines = generate_latest(registry).decode().splitlines()
    samples = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert len(samples) == sum(not line.startswith("#") for line in lines), "a series stands there twice"
    return {name: float(value) for name, value in samples.items()}


@pytest.fixture
def one() -> _Worker:
    return _Worker()


@pytest.fixture
def two() -> _Worker:
    return _Worker()


def test_counters_are_added_up_series_by_series(one: _Worker, two: _Worker) -> None:
    one.rpcs.labels("a").inc(2)
    two.rpcs.labels("a").inc(3)
    two.rpcs.labels("b").inc(5)

    found = _samples([(1, one.scrape()), (2, two.scrape())])

    assert found['d1_gateway_rpcs_total{rpc="a"}'] == 5
    assert found['d1_gateway_rpcs_total{rpc="b"}'] == 5


def test_histograms_are_added_up_bucket_by_bucket(one: _Worker, two: _Worker) -> None:
    for worker, seconds in ((one, 0.05), (one, 0.5), (two, 0.5), (two, 5)):
        worker.seconds.observe(seconds)

    found = _samples([(1, one.scrape()), (2, two.scrape())])

    name = "d1_gateway_rpc_duration_seconds"
    assert [found[f'{name}_bucket{{le="{le}"}}'] for le in ("0.1", "1.0", "+Inf")] == [1, 3, 4]
    assert (found[f"{name}_count"], found[f"{name}_sum"]) == (4, 6.05)


@pytest.mark.parametrize(
    ("name", "together"),
    [
        ("d1_gateway_streams_open", 7),
        ("d1_gateway_event_log_last_sequence", 5),
        ("d1_gateway_certificate_expiry_timestamp_seconds", 2),
    ],
)
def test_a_gauge_is_put_together_as_it_is_meant(one: _Worker, two: _Worker, name: str, together: float) -> None:
    one.gauge(name, 5)
    two.gauge(name, 2)

    assert _samples([(1, one.scrape()), (2, two.scrape())])[name] == together


@pytest.mark.parametrize("name", ["process_resident_memory_bytes", "d1_gateway_something_new"])
def test_a_gauge_of_one_process_or_without_a_rule_is_told_for_each(one: _Worker, two: _Worker, name: str) -> None:
    one.gauge(name, 5)
    two.gauge(name, 2)

    found = _samples([(1, one.scrape()), (2, two.scrape())])

    assert (found[f'{name}{{worker="1"}}'], found[f'{name}{{worker="2"}}']) == (5, 2)


def test_of_two_in_the_same_place_the_later_has_the_last_word(one: _Worker, two: _Worker) -> None:
    one.gauge("process_start_time_seconds", 100)
    two.gauge("process_start_time_seconds", 50)

    found = _samples([(1, one.scrape()), (1, two.scrape())])

    assert found == {'process_start_time_seconds{worker="1"}': 50} | {
        name: value for name, value in found.items() if name.startswith("d1_gateway")
    }


def test_who_is_gone_goes_on_to_count_and_has_no_gauges(one: _Worker, two: _Worker) -> None:
    Counter("process_cpu_seconds", "CPU.", registry=one.registry).inc(7)
    Counter("process_cpu_seconds", "CPU.", registry=two.registry).inc(1)
    one.rpcs.labels("a").inc(2)
    one.gauge("d1_gateway_streams_open", 5)
    two.rpcs.labels("a").inc(1)

    gone = merged([(0, []), (3, growing(one.scrape()))])
    gone = merged([(0, gone), (3, growing(two.scrape()))])
    found = _samples([(0, gone), (3, two.scrape())])

    assert found['d1_gateway_rpcs_total{rpc="a"}'] == 4
    assert found['process_cpu_seconds_total{worker="3"}'] == 9
    assert "d1_gateway_streams_open" not in found


def test_labels_survive_whatever_stands_in_them(one: _Worker) -> None:
    one.rpcs.labels('quote " backslash \\ line\nbreak').inc()

    assert _samples([(1, one.scrape())]) == _samples([(0, merged([(1, one.scrape())]))])
    assert merged([(1, one.scrape())])[0].samples[0].labels == {"rpc": 'quote " backslash \\ line\nbreak'}


def test_what_the_gateway_counts_is_the_same_after_being_put_together_with_nothing() -> None:
    metrics = Metrics()
    metrics.append_seconds.observe(0.01)
    text = generate_latest(metrics.registry).decode()

    found = _samples([(1, list(text_string_to_metric_families(text)))])

    ours = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("d1_gateway"))
    assert {name: value for name, value in found.items() if name.startswith("d1_gateway")} == {
        name: float(value) for name, value in ours.items()
    }
