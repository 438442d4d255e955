"""The model card: what a model is, what it was trained on, how right it is, what it is not for.

`README.md` has Hugging Face's header (https://huggingface.co/docs/hub/model-cards), so that a hub shows it;
`trained_on.parquet` answers whether an image, or a place, was trained on (`xmodal seen`) without naming any.
"""

from pipelines.card.trained_on import TRAINED_ON, TrainedOn, trained_on
from pipelines.card.written import README, written

__all__ = ["README", "TRAINED_ON", "TrainedOn", "trained_on", "written"]
