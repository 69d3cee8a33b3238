"""Figures in Prometheus form, under the names that vLLM gives them, so that its dashboards work."""

from __future__ import annotations

from time import perf_counter

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from gemma_cli.core.events import Done, Round
from gemma_cli.serve.api.errors import ApiError
from gemma_cli.serve.worker import Item, Job, Worker

SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120)
PER_TOKEN = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)


class Metrics:
    """Counts what the worker does."""

    def __init__(self, model: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._labels = {"model_name": model}
        self._prompt_tokens = self._counter("prompt_tokens", "Prompt tokens of finished requests.")
        self._tokens = self._counter("generation_tokens", "Tokens of finished replies.")
        self._drafts = self._counter("spec_decode_num_drafts", "Target passes that verified drafts.")
        self._drafted = self._counter("spec_decode_num_draft_tokens", "Tokens drafted.")
        self._accepted = self._counter("spec_decode_num_accepted_tokens", "Drafted tokens accepted.")
        self._positions = Counter(
            "vllm:spec_decode_num_accepted_tokens_per_pos",
            "Accepted draft tokens, by position in the draft.",
            ["model_name", "position"],
            registry=self.registry,
        )
        self._by_position: list[Counter] = []
        self._finished = Counter(
            "vllm:request_success",
            "Finished requests, by finish reason.",
            ["model_name", "finished_reason"],
            registry=self.registry,
        )
        self._failed = self._counter("request_failure", "Requests that ended with an error.")
        self._first = self._histogram(
            "time_to_first_token_seconds", "Time from the request to the first token.", SECONDS
        )
        self._per_token = self._histogram(
            "request_time_per_output_token_seconds", "Time per token after the first token.", PER_TOKEN
        )
        self._whole = self._histogram(
            "e2e_request_latency_seconds", "Time from the request to the last token.", SECONDS
        )

    def watch(self, worker: Worker) -> None:
        """Take the lengths of the line from `worker` whenever the figures are read."""
        running = Gauge("vllm:num_requests_running", "Requests under way.", ["model_name"], registry=self.registry)
        waiting = Gauge("vllm:num_requests_waiting", "Requests in the line.", ["model_name"], registry=self.registry)
        running.labels(**self._labels).set_function(lambda: worker.running)
        waiting.labels(**self._labels).set_function(lambda: worker.waiting)

    def event(self, job: Job, item: Item) -> None:
        """See worker.Observer.event."""
        match item:
            case Round(drafted, accepted) if drafted:
                self._drafts.inc()
                self._drafted.inc(drafted)
                self._accepted.inc(accepted)
                for position in range(accepted):
                    self._at(position).inc()
            case Done(reason, usage, timings):
                self._finished.labels(**self._labels, finished_reason=reason).inc()
                self._prompt_tokens.inc(usage.prompt_tokens)
                self._tokens.inc(usage.completion_tokens)
                self._whole.observe(perf_counter() - job.submitted)
                if job.first_s is not None:
                    self._first.observe(job.first_s)
                if timings.decode_s and usage.completion_tokens > 1:
                    self._per_token.observe(timings.decode_s / (usage.completion_tokens - 1))
            case ApiError():
                self._failed.inc()

    def _at(self, position: int) -> Counter:
        """The counter of drafts accepted at a position; looking its labels up each time would cost a round 50 µs."""
        while len(self._by_position) <= position:
            name = str(len(self._by_position))
            self._by_position.append(self._positions.labels(**self._labels, position=name))
        return self._by_position[position]

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, help_text: str) -> Counter:
        return Counter(f"vllm:{name}", help_text, ["model_name"], registry=self.registry).labels(**self._labels)

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...]) -> Histogram:
        histogram = Histogram(f"vllm:{name}", help_text, ["model_name"], buckets=buckets, registry=self.registry)
        return histogram.labels(**self._labels)
