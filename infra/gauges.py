"""What Prometheus is shown of a training run: Ray exports it at its node's metrics port.

Few series, whatever is trained: the one label says which task's loss it is. Runs, images and places are no labels.
"""

from collections.abc import Mapping

from ray.util.metrics import Counter, Gauge

SHOWN = {
    "time/samples_per_second": ("xmodal_speed_samples_per_second", "Samples that all workers train on in a second."),
    "time/step": ("xmodal_step_seconds", "From the end of one optimizer step to that of the next."),
    "time/data_wait": ("xmodal_data_wait_ratio", "Share of a step in which the first worker waited for its batch."),
    "queue/age": ("xmodal_queue_age_steps", "Optimizer steps since the oldest stored key was made."),
    "queue/drift": ("xmodal_queue_drift_ratio", "1 - cosine of keys a step old and the same images now."),
    "momentum/staleness": ("xmodal_momentum_staleness_ratio", "How far the key encoder went since the oldest."),
    "val/score": ("xmodal_validation_score_value", "What the best checkpoint is chosen by."),
}
"""Name of a curve, and the gauge that shows its last point."""


class Gauges:
    """The last values of a run's curves, from its first worker."""

    def __init__(self) -> None:
        self._by_curve = {curve: Gauge(*named) for curve, named in SHOWN.items()}
        self._loss = Gauge("xmodal_loss_value", "Mean over all workers; total is their weighted sum.", ("task",))
        self._samples = Counter("xmodal_samples_total", "Samples trained on.")

    def show(self, metrics: Mapping[str, float]) -> None:
        """Shows those of `metrics`, by the names of their curves, that have a gauge."""
        for curve in self._by_curve.keys() & metrics.keys():
            self._by_curve[curve].set(metrics[curve])

    def step(self, samples: int, losses: Mapping[str, float]) -> None:
        """Counts a step's samples and shows its losses by task."""
        self._samples.inc(samples)
        for task, loss in losses.items():
            self._loss.set(loss, {"task": task})
