"""Which version of a model serves: decisions in the store, and MLflow's alias, which follows them.

`ROOT/promotions/MODEL/SEQ.json` is a decision: the version, the one before it, why, and the fence of the lock under
which it was made. Its creation is the commit. Of two who write the same SEQ one is refused, and a holder whose lease
went while it slept finds a decision of a higher fence and leaves. The alias is set after it, from the highest decision:
killed between the two, the old champion serves on, and whoever comes next first makes the alias what was decided.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from infra.lock import Lock, Lost, held
from infra.registry import Registry
from infra.storage import AlreadyExists, Store
from pipelines.prepare.versions import LOCKS


@dataclass(frozen=True)
class Promotion:
    """One decision."""

    sequence: int
    version: int
    former: int | None
    """The champion before it; None for the first one."""
    why: str
    fence: int
    decided_at: str
    """UTC, ISO 8601."""


class Promotions:
    """The decisions about `registry`'s model below `store`, for the holder of `lock`."""

    def __init__(self, store: Store, registry: Registry, lock: Lock) -> None:
        self.store, self.registry, self.lock = store, registry, lock
        self.folder = f"promotions/{registry.model}"

    def newest(self) -> Promotion | None:
        keys = [entry.key for entry in self.store.list(self.folder)]
        return Promotion(**json.loads(self.store.read(keys[-1]))) if keys else None

    def of(self, version: int) -> Promotion | None:
        """The newest decision for `version`."""
        made = (Promotion(**json.loads(self.store.read(entry.key))) for entry in self.store.list(self.folder))
        return max((one for one in made if one.version == version), key=lambda one: one.sequence, default=None)

    def settle(self) -> int | None:
        """Makes the alias what was decided last; returns the champion. Raises Lost."""
        decided, there = self.newest(), self.registry.champion()
        if decided is None or decided.version == there:
            return there
        self.lock.confirm()
        self.registry.serve(decided.version)
        return decided.version

    def promote(self, version: int, why: str) -> Promotion:
        """Decides for `version` and makes the alias follow. Raises NoSuchModel, Lost."""
        self.registry.version(version)
        former, last = self.settle(), self.newest()
        number = last.sequence + 1 if last else 1
        made = Promotion(number, version, former, why, self.lock.fence, datetime.now(UTC).isoformat(timespec="seconds"))
        self.lock.confirm()
        if last is not None and last.fence > self.lock.fence:
            raise Lost(f"{self.lock.name}: decision {last.sequence} was made by a later holder")
        self._create(made)
        self.registry.serve(version)
        return made

    def _create(self, made: Promotion) -> None:
        """An answer may be lost after its write was done, so a refusal is read back."""
        key, data = f"{self.folder}/{made.sequence:08d}.json", json.dumps(asdict(made), indent=1).encode()
        try:
            self.store.create(key, data)
        except AlreadyExists:
            if self.store.read(key) != data:
                raise Lost(f"{self.lock.name}: decision {made.sequence} was made by another holder") from None


@contextmanager
def promoting(store: Store, registry: Registry, ttl: float = 60.0) -> Iterator[Promotions]:
    """The decisions about a model, for the one who holds its lock. Raises Locked."""
    with held(store, f"{LOCKS}/retrain-{registry.model}.json", ttl) as lock:
        yield Promotions(store, registry, lock)
