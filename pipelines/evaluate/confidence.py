"""Whether the confidence that `predict classify` prints can be believed."""

import numpy as np
import torch

from pipelines.evaluate.acceptance import Learnt
from pipelines.evaluate.species import Named
from pipelines.evaluate.subject import Subject
from pipelines.report.content import Confidence
from xmodal.metrics import survey_tables
from xmodal.metrics.calibration import best_temperature, bins, softmax
from xmodal.metrics.classification import hits
from xmodal.metrics.figure import Figure


def confidence(subject: Subject, found: Named, learnt: Learnt | None) -> Confidence:
    """The section. Needs images that are asked for."""
    right, own = hits(found.truth, found.predicted), subject.confidence_temperature
    sure = softmax(found.similarities[found.images], own).max(1)
    prefix = f"{subject.split}/calibration"
    note = f"softmax over {len(found.candidates)} species at the model's own temperature, {own:.3f}"
    rows = [
        survey_tables.confidence(f"{prefix}/ece", "Calibration error (ECE)", sure, right, found.groups, note),
        *_scaled(subject, found, right),
    ]
    accepted, trust = (learnt.accepted, learnt.trust) if learnt else ([], None)
    return Confidence([*rows, *accepted], bins(sure, right), float(sure.mean()), float(right.mean()), trust)


def _scaled(subject: Subject, found: Named, right: np.ndarray) -> list[Figure]:
    """The same with the temperature that fits validation images best (temperature scaling)."""
    position = {name: number for number, name in enumerate(found.candidates)}
    rows = [n for n, name in enumerate(subject.validation_species) if name in position]
    if not rows:
        return []
    images = torch.cat(subject.validation.images)[rows]
    truth = np.array([position[name] for name in subject.validation_species if name in position])
    fitted = best_temperature((images @ found.vectors.T).double().numpy(), truth)
    sure = softmax(found.similarities[found.images], fitted).max(1)
    note = f"temperature {fitted:.3f}, fitted to {len(rows)} validation images (Guo et al., ICML 2017)"
    name, label = f"{subject.split}/calibration/ece_scaled", "Calibration error after temperature scaling"
    return [survey_tables.confidence(name, label, sure, right, found.groups, note)]
