"""What Prometheus is told; one registry an application, so that two in one process do not mix."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from complaints.records import HeadPrediction

# From a health check to the hard stop of a single prediction, in seconds.
LATENCIES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 10.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters of one application; every label value comes from a closed set, never from a caller."""

    def __init__(self, queue_depth: Callable[[], float]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "jianwei_requests", "Requests answered", ["method", "route", "status"], registry=self._registry
        )
        self._latency = Histogram(
            "jianwei_request_seconds", "Time to answer", ["method", "route"], buckets=LATENCIES, registry=self._registry
        )
        self._batches = Histogram("jianwei_batch_items", "Items of a batch", buckets=BATCHES, registry=self._registry)
        self._decisions = Counter(
            "jianwei_decisions", "Decisions given", ["head", "label", "decision"], registry=self._registry
        )
        self._risks = Counter("jianwei_risks", "Risks suggested", ["level", "arm"], registry=self._registry)
        self._model = Gauge(
            "jianwei_model_info",
            "1 for the model that answers",
            ["name", "version", "digest", "taxonomy_version", "policy_version"],
            registry=self._registry,
        )
        depth = Gauge("jianwei_queue_depth", "Complaints waiting for the model", registry=self._registry)
        depth.set_function(queue_depth)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self._requests.labels(method, route, str(status)).inc()
        self._latency.labels(method, route).observe(seconds)

    def batch(self, items: int) -> None:
        """Count one batch."""
        self._batches.observe(items)

    def decisions(self, heads: Mapping[str, HeadPrediction]) -> None:
        """Count the decisions of one prediction."""
        for name, one in heads.items():
            self._decisions.labels(name, one.label, one.decision).inc()

    def risk(self, level: str, arm: str) -> None:
        """Count one suggested level, by the policy's arm: control or pilot."""
        self._risks.labels(level, arm).inc()

    def render(self, model: Mapping[str, str] | None) -> bytes:
        """Everything in Prometheus' text format; `model` as labels of jianwei_model_info, None where none is loaded."""
        self._model.clear()
        if model is not None:
            self._model.labels(**model).set(1)
        return generate_latest(self._registry)
