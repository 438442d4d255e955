"""`xmodal promote`: the champion set by hand, also back to an earlier version."""

import re

from infra.registry import Registry
from pipelines.addresses import from_environment, optional_address
from pipelines.places import root_store
from pipelines.promotions import promoting
from xmodal.settings import SettingsError

TARGET = re.compile(r"(?P<model>[^/:]+)/(?P<version>[1-9]\d*)")


def promote(target: str, root: str | None, tracking: str | None, why: str) -> str:
    """Makes `target`, MODEL/VERSION, the champion on the MLflow server at `tracking`; returns what to tell.

    Raises SettingsError, NoSuchModel, Locked, Lost, Unreachable, Denied.
    """
    named = TARGET.fullmatch(target)
    if named is None:
        raise SettingsError(f"{target}: not a version of a registered model; write MODEL/VERSION, as in camera-traps/3")
    uri = optional_address("--tracking", tracking) or from_environment("MLFLOW_TRACKING_URI")
    if not uri:
        raise SettingsError("promote: no MLflow server is named; give --tracking or set MLFLOW_TRACKING_URI")
    registry, version = Registry(uri, named["model"]), int(named["version"])
    registry.version(version)
    with promoting(root_store(root), registry) as promotions:
        if promotions.settle() == version:
            return f"{target} is the champion already"
        made = promotions.promote(version, why)
    if made.former is None:
        return f"{target} is the champion"
    back = f"{registry.model}/{made.former}"
    return f"{target} is the champion, in the place of {back}\nback: xmodal promote {back}"
