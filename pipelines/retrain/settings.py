"""When a retraining trains, and from what: no part of a run's identity; what it changes in `train` is."""

from pydantic import Field

from xmodal.settings import Settings


class RetrainSettings(Settings):
    """What must have arrived, and how the challenger is made of it."""

    least_labelled: int = Field(default=100, ge=1)
    """Training images whose label is new or another one since the champion was trained; fewer are not worth a training
    by themselves. Media without labels are none of them."""
    most_fall: float = Field(default=0.1, gt=0, le=1)
    """Drift at which fewer are: by how much the share of newly labelled images that the champion names rightly lies
    below its share on the test images it was measured by, 0..1, as far as the 95 % interval over places says so."""
    look_at: int = Field(default=2000, ge=1)
    """Images that the champion is tried on before the training, at most, of the new ones and of its old test images."""
    warm: bool = True
    """Whether the challenger begins with the champion's weights, its queue empty; else as the recipe says."""
    replay: float = Field(default=1.0, ge=0, le=1)
    """Share of the images the champion was trained on that a warm start trains on again, beside all new ones."""
    epochs: int | None = Field(default=None, ge=1)
    """Passes of a warm start; without it those of train.epochs."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Peak rate of a warm start; without it that of train.optimizer."""
