"""What one retraining has come to: a document for each stage that is done, so that whoever is killed is continued.

`ROOT/retrain/MODEL/VERSION-CHAMPION-FINGERPRINT/`, by the dataset version, the champion's version in the registry (0
where there is none) and the challenger's recipe:

    look.json     what has changed, how the champion does on it, and whether that is worth a training
    trained.json  the run, and its version in the registry
    report.html   the evaluation of the challenger, beside the champion
    answers.parquet  what either said of each test image
    gate.json     the decision and its checks
"""

import json
from dataclasses import dataclass
from typing import Any

from infra.storage import NotFound, Store

REPORT, ANSWERS = "report.html", "answers.parquet"


@dataclass(frozen=True)
class Round:
    """One retraining's place in the store."""

    store: Store
    prefix: str

    @classmethod
    def of(cls, store: Store, model: str, version: int, champion: int, fingerprint: str) -> "Round":
        """A challenger that begins afresh is the same whoever the champion is; what is said of the two is not."""
        return cls(store, f"retrain/{model}/{version:08d}-{champion:08d}-{fingerprint}")

    @property
    def url(self) -> str:
        return f"{self.store.url}/{self.prefix}"

    def read(self, stage: str) -> dict[str, Any] | None:
        """The document of a stage; None where it is not done."""
        try:
            return json.loads(self.store.read(f"{self.prefix}/{stage}.json"))
        except NotFound:
            return None

    def write(self, stage: str, content: dict[str, Any]) -> dict[str, Any]:
        """Marks a stage as done; returns its document."""
        self.store.put(f"{self.prefix}/{stage}.json", json.dumps(content, indent=1).encode())
        return content

    def keep(self, name: str, data: bytes) -> None:
        """Stores a file beside the documents."""
        self.store.put(f"{self.prefix}/{name}", data)

    def kept(self, name: str) -> bytes:
        """Raises NotFound."""
        return self.store.read(f"{self.prefix}/{name}")
