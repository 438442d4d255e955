"""Which images of an earlier dataset version a warm start trains on again.

Training on new data alone forgets the old (McCloskey and Cohen, 1989; Ratcliff, 1990: replay is the plain remedy), and
on everything costs the most. Which ones are left out is a draw by sample id, so it is the same in every process and
another share keeps the images of a smaller one.
"""

import pyarrow as pa
from pydantic import Field

from pipelines.dataset import Dataset
from xmodal.settings import Settings

IN_ALL = 1 << 32
KNOWN = ["sample_id", "facts"]


class Replay(Settings):
    """Of what an earlier run was trained on a share is trained on again."""

    version: int | None = Field(default=None, ge=1)
    """Dataset version that the earlier run was trained on."""
    share: float = Field(default=1.0, ge=0, le=1)
    """Share of its training images, 0..1."""

    def left_out(self, dataset: Dataset) -> pa.Array | None:
        """Sample ids of training images that are not trained on again: of those that the earlier version has with the
        same facts. None = none. Raises NotFound where that version is gone."""
        if self.version is None or self.share == 1:
            return None
        earlier = Dataset.open(dataset.store, dataset.name, self.version)
        before, now = (one.records(KNOWN, split="train").select(KNOWN) for one in (earlier, dataset))
        same = now.join(before, KNOWN, join_type="left semi")["sample_id"].to_pylist()
        return pa.array([one for one in same if int(one[:8], 16) >= self.share * IN_ALL], pa.string())
