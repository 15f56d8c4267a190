"""A report as Prometheus reads it: names, help texts and labels of all metrics.

Owns the names, which docs/operations.md lists and dashboards depend on. The library is loaded by
who imports this: not before somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from hffs.mount.observing.reporting import Report

_LABEL = "mountpoint"


class _Collected(Collector):
    """A report, as the library asks for it."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        """All metrics of the report."""
        for describe in (_requests, _errors, _caches, _fetches, _work, _mount, _process):
            yield from describe(self._report)


def expose(report: Report) -> bytes:
    """A report in the text format of Prometheus."""
    return generate_latest(_Collected(report))


def _requests(report: Report) -> Iterator[Metric]:
    bounds = [*map(str, report.bounds_s), "+Inf"]
    durations = HistogramMetricFamily(
        "hffs_request_duration_seconds",
        "Time to answer a FUSE request.",
        labels=[_LABEL, "request"],
    )
    failed = CounterMetricFamily(
        "hffs_request_errnos",
        "FUSE requests that were answered by an errno, which need not be a failure.",
        labels=[_LABEL, "request", "errno"],
    )
    for kind, figures in report.requests.items():
        labels = [report.about.mountpoint, kind]
        buckets = list(zip(bounds, accumulate(figures.buckets), strict=True))
        durations.add_metric(labels, buckets, figures.total_s)
        for name, count in figures.errnos.items():
            failed.add_metric([*labels, name], count)
    yield durations
    yield failed
    yield _counter(report, "hffs_read_bytes", "Bytes given to readers.", report.read_bytes)
    yield _gauge(report, "hffs_requests_in_flight", "FUSE requests under way.", report.in_flight)
    about = "FUSE requests that wait for a thread or the network."
    yield _gauge(report, "hffs_requests_waiting", about, report.waiting)


def _errors(report: Report) -> Iterator[Metric]:
    about = "FUSE requests that failed, by the kind of error."
    yield _counters(report, "hffs_errors", about, "kind", report.errors)
    about = "Files that cannot be rendered or read, ever; each is EIO."
    failures = report.view.failures
    yield _gauge(report, "hffs_broken_files", about, failures.broken)
    about = "Failures to get a file that may pass."
    yield _counter(report, "hffs_passing_failures", about, failures.passing)


def _caches(report: Report) -> Iterator[Metric]:
    kinds = {"memory": report.view.memory, **report.view.disk.kinds}
    hits = {kind: each.hits for kind, each in kinds.items()}
    misses = {kind: each.misses for kind, each in kinds.items()}
    made = {kind: each.made for kind, each in kinds.items() if kind != "memory"}
    yield _counters(report, "hffs_cache_hits", "Lookups that found something.", "cache", hits)
    yield _counters(report, "hffs_cache_misses", "Lookups that found nothing.", "cache", misses)
    about = "Things that were made or fetched, to be kept in the disk cache."
    yield _counters(report, "hffs_cache_made", about, "cache", made)
    about = "Entries of the disk cache that this mount evicted."
    yield _counter(report, "hffs_cache_evictions", about, report.view.disk.evicted)
    about = "Entries of the disk cache that could not be stored or read."
    yield _counter(report, "hffs_cache_failures", about, report.view.disk.failures)


def _fetches(report: Report) -> Iterator[Metric]:
    traffic = report.view.traffic
    about = "Requests sent to other hosts."
    yield _counter(report, "hffs_fetch_requests", about, traffic.requests)
    about = "Bytes fetched from other hosts."
    yield _counter(report, "hffs_fetched_bytes", about, traffic.fetched_bytes)
    about = "Things that were asked for again after a failure."
    yield _counter(report, "hffs_fetch_retries", about, traffic.retries)
    about = "Things that did not come within their deadline."
    yield _counter(report, "hffs_fetch_deadlines", about, traffic.late)
    about = "Requests to other hosts under way."
    yield _gauge(report, "hffs_fetches_in_flight", about, traffic.under_way)


def _work(report: Report) -> Iterator[Metric]:
    about = "Images rendered."
    yield _counter(report, "hffs_rendered_images", about, report.view.rendered)
    queues = GaugeMetricFamily(
        "hffs_queue_length", "Work that no worker has begun.", labels=[_LABEL, "pool"]
    )
    for pool, length in report.view.queues.items():
        queues.add_metric([report.about.mountpoint, pool], length)
    yield queues


def _mount(report: Report) -> Iterator[Metric]:
    about = report.about
    told = GaugeMetricFamily(
        "hffs_mount_info",
        "What is mounted; always 1.",
        labels=[_LABEL, "source", "commit", "fingerprint", "version"],
    )
    told.add_metric(
        [about.mountpoint, about.source, about.commit, about.fingerprint, report.version], 1
    )
    yield told
    yield _gauge(report, "hffs_files", "Files of the mount.", about.files)


def _process(report: Report) -> Iterator[Metric]:
    process = report.process
    if process is None:
        return
    about = "Memory of the daemon, with pages of files that it has mapped."
    yield _gauge(report, "hffs_resident_memory_bytes", about, process.rss_bytes)
    about = "Memory of the daemon that is its own."
    yield _gauge(report, "hffs_anonymous_memory_bytes", about, process.anon_bytes)
    yield _gauge(report, "hffs_threads", "Threads of the daemon.", process.threads)
    if process.open_fds is not None:
        yield _gauge(report, "hffs_open_fds", "Descriptors that it has open.", process.open_fds)
    yield _counter(report, "hffs_cpu_seconds", "Processor time of the daemon.", process.cpu_s)
    about = "Time since the daemon began."
    yield _gauge(report, "hffs_uptime_seconds", about, process.uptime_s)


def _counter(report: Report, name: str, about: str, value: float) -> Metric:
    family = CounterMetricFamily(name, about, labels=[_LABEL])
    family.add_metric([report.about.mountpoint], value)
    return family


def _counters(
    report: Report, name: str, about: str, label: str, values: Mapping[str, float]
) -> Metric:
    family = CounterMetricFamily(name, about, labels=[_LABEL, label])
    for which, value in values.items():
        family.add_metric([report.about.mountpoint, which], value)
    return family


def _gauge(report: Report, name: str, about: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, about, labels=[_LABEL])
    family.add_metric([report.about.mountpoint], value)
    return family
