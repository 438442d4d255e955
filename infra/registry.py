"""The model registry of an MLflow server: versions of a registered model, and the alias that says which one serves.

MLflow has no compare-and-set: of two who set an alias the last one wins. Who must not be overwritten decides elsewhere,
under a lock, and then makes the server say so.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from infra.curves import set_limits
from infra.storage import NotFound
from infra.tracking import one_line_errors

CHAMPION = "champion"
"""Alias of the version that serves."""
CHALLENGER = "challenger"
"""Alias of the version that was judged last beside the champion and has not taken its place."""
DESCRIPTION = 90_000
"""Characters of a version's description, at most: MLflow takes 100,000."""
RACES, PAUSE = 5, 0.2
"""How often an alias that others set for the first time at the same moment is set again, and seconds between: on
PostgreSQL one of them is answered with 400, UniqueViolation."""


class NoSuchModel(NotFound):
    """The registry has no such model, or no such version of it."""


@dataclass(frozen=True)
class Version:
    """A version of a registered model; `run` is the MLflow run that made it."""

    number: int
    run: str
    aliases: tuple[str, ...]


class Registry:
    """The registered model `model` on the server at `uri`. Everything raises Unreachable or Denied where the server
    does not answer or refuses."""

    def __init__(self, uri: str, model: str) -> None:
        set_limits()
        self.uri, self.model, self._client = uri, model, MlflowClient(tracking_uri=uri, registry_uri=uri)

    def version(self, number: int) -> Version:
        """Raises NoSuchModel, which names the versions that there are."""
        there = {one.number: one for one in self.versions()}
        if number not in there:
            numbers = ", ".join(map(str, sorted(there)))
            raise NoSuchModel(f"{self.model}/{number}: no such version; allowed: {numbers}")
        return there[number]

    def versions(self) -> list[Version]:
        """Newest first. Raises NoSuchModel where there is none."""
        found = self._found()
        with one_line_errors(self.uri):
            aliases = dict(self._client.get_registered_model(self.model).aliases) if found else {}
        if not found:
            raise NoSuchModel(f"{self.model}: MLflow at {self.uri} has no registered model of this name with a version")
        return sorted((_version(one, aliases) for one in found), key=lambda one: -one.number)

    def champion(self) -> int | None:
        """The version that serves; None where nobody has said yet."""
        with one_line_errors(self.uri):
            try:
                return int(self._client.get_model_version_by_alias(self.model, CHAMPION).version)
            except MlflowException as error:
                if error.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
                    return None
                raise

    def serve(self, number: int) -> None:
        """Makes version `number` the champion, and no challenger any more; reads back that it is."""
        self._set(CHAMPION, number)
        if (found := self.champion()) != number:
            raise RuntimeError(f"{self.model}: the alias {CHAMPION} was set to {number} and is {found}")
        if CHALLENGER in self.version(number).aliases:
            with one_line_errors(self.uri):
                self._client.delete_registered_model_alias(self.model, CHALLENGER)

    def challenge(self, number: int) -> None:
        """Makes version `number` the challenger."""
        self._set(CHALLENGER, number)

    def of_run(self, run_id: str) -> int | None:
        """The newest version that the MLflow run `run_id` made; None where it made none."""
        return max((int(one.version) for one in self._found() if one.run_id == run_id), default=None)

    def training_run(self, number: int) -> str | None:
        """The name of the training run that made version `number`; None where another program made it. Raises
        NoSuchModel."""
        run_id = self.version(number).run
        with one_line_errors(self.uri):
            return self._client.get_run(run_id).data.tags.get("run") if run_id else None

    def describe(self, number: int, text: str, tags: Mapping[str, str]) -> None:
        """Puts a Markdown text (cut where MLflow would not take it) and tags on version `number`."""
        with one_line_errors(self.uri):
            self._client.update_model_version(self.model, str(number), text[:DESCRIPTION])
            for key, value in tags.items():
                self._client.set_model_version_tag(self.model, str(number), key, value)

    def _found(self) -> list[ModelVersion]:
        with one_line_errors(self.uri):
            return list(self._client.search_model_versions(f"name = '{self.model}'"))

    def _set(self, alias: str, number: int) -> None:
        with one_line_errors(self.uri):
            for race in range(RACES):
                try:
                    self._client.set_registered_model_alias(self.model, alias, str(number))
                    return
                except MlflowException as error:
                    if "UniqueViolation" not in str(error) or race == RACES - 1:
                        raise
                    time.sleep(PAUSE)


def _version(one: ModelVersion, aliases: dict[str, str]) -> Version:
    own = tuple(sorted(alias for alias, number in aliases.items() if int(number) == int(one.version)))
    return Version(int(one.version), one.run_id or "", own)
