"""Distillation initialisation: the first samples of a run pull the encoders towards a teacher's space.

    L_kd = 1/2 sum_d KL(softmax(S_teacher / tau) || softmax(S_student / tau)) + w_cos 1/2 sum_m (1 - <x_m, x_m^teacher>)

d both directions over the similarities S of the global batch, m both modalities. ReCap initialises its contrastive
encoders by distillation from a pre-trained model (Tao et al., Sensors 2024; the loss is our reading). It is a task
beside the others that ends after `samples` samples, not a phase before them: so there is one order of samples, one
optimizer and one schedule, and a resume or another number of workers changes nothing. The teacher reads each caption
as the dataset's vocabulary writes it.
"""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import one_hot

from xmodal.distributed import share_of_mean
from xmodal.encodings import Encodings
from xmodal.settings import Settings, SettingsError
from xmodal.sizes import Sizes
from xmodal.teacher import Teacher, TeacherSettings
from xmodal.wordpiece import WordPiece


class Distil(Settings):
    """Distillation task."""

    weight: float = Field(default=1.0, ge=0)
    """Factor of the loss in the total; 0 = without it."""
    teacher: TeacherSettings
    """The model to start from."""
    samples: int = Field(gt=0)
    """Samples after which the task ends and costs nothing."""
    temperature: float = Field(default=0.07, gt=0)
    """tau of both softmaxes."""
    cosine: float = Field(default=1.0, ge=0)
    """w_cos, weight of the closeness of vectors, which needs a space of the teacher's dimensions; 0 = not asked for."""

    def build(self, sizes: Sizes) -> "Distilling":
        return Distilling(self, self.teacher.build(), sizes.wordpiece)


class Distilling(nn.Module):
    """The task; the teacher is no part of the module tree."""

    def __init__(self, settings: Distil, teacher: Teacher, wordpiece: WordPiece):
        super().__init__()
        self.settings, self.teacher, self.wordpiece = settings, teacher, wordpiece
        self.closeness = near if settings.cosine else nothing

    def forward(self, encodings: Encodings) -> Tensor:
        """This rank's share of the global mean over valid rows, a scalar; 0 after the last sample."""
        if encodings.samples_seen >= self.settings.samples:
            return 0.0 * encodings.image.sum()
        texts = self.wordpiece.decode(encodings.batch.caption.cpu())
        told = self.teacher.vectors(encodings.batch.image, encodings.query.image.encoder, texts)
        own, tau = (encodings.image, encodings.text), self.settings.temperature
        layout, valid = encodings.layout, encodings.gathered.valid
        allowed = valid[None] | one_hot(layout.own, layout.rows).bool()
        with torch.autocast(encodings.image.device.type, enabled=False):
            halves = [
                divergence(told[one].float() @ layout.gather(told[other]).float().T / tau,
                           own[one].float() @ layout.gather_with_grad(own[other]).float().T / tau, allowed)
                for one, other in ((0, 1), (1, 0))
            ]  # fmt: skip
        rows = (halves[0] + halves[1]) / 2 + self.settings.cosine * self.closeness(own, told)
        return share_of_mean(rows, encodings.batch.valid, encodings.count)

    def identity(self) -> str:
        """That of the teacher; loads it."""
        return self.teacher.identity()


Vectors = tuple[Tensor, Tensor]
"""(B, D) of images and of texts."""


def divergence(teacher: Tensor, student: Tensor, allowed: Tensor) -> Tensor:
    """(B,) KL(softmax(teacher) || softmax(student)) of logits (B, N) over the allowed columns."""
    told = teacher.masked_fill(~allowed, float("-inf")).log_softmax(1)
    said = student.masked_fill(~allowed, float("-inf")).log_softmax(1)
    return (told.exp() * (told - said).masked_fill(~allowed, 0)).sum(1)


def near(own: Vectors, told: Vectors) -> Any:
    """(B,) mean over both modalities of 1 - cos. Raises SettingsError where the spaces differ in dimensions."""
    ours, theirs = own[0].shape[1], told[0].shape[1]
    if ours != theirs:
        raise SettingsError(
            f"model.embed_dim {ours}: the teacher's space has {theirs} dimensions; make them equal, or set "
            "model.tasks.distil.cosine=0"
        )
    return sum(1 - (one.float() * other).sum(1) for one, other in zip(own, told, strict=True)) / 2


def nothing(own: Vectors, told: Vectors) -> Any:
    """Any dimensions will do."""
    return 0.0
