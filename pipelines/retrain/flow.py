"""`xmodal retrain`: prepare, look, train, judge, promote, all of it under the model's lock.

Every stage leaves a document (pipelines.retrain.rounds), and a stage whose document is there is not done again, so
whoever is killed is continued by the next one. The champion changes at one moment alone, that of its promotion.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.registry import Registry
from infra.storage import Store
from pipelines.dataset import Dataset
from pipelines.prepare import verb as prepare
from pipelines.progress import say
from pipelines.promotions import Promotions, promoting
from pipelines.recipe import Recipe, load_recipe, renewed_model
from pipelines.retrain.champion import Champion, serving, trained_on
from pipelines.retrain.changes import changes
from pipelines.retrain.judge import evaluated, judge
from pipelines.retrain.look import look, looked, worth
from pipelines.retrain.rounds import REPORT, Round
from pipelines.retrain.settings import RetrainSettings
from pipelines.served import mlflow_run, record_again
from pipelines.tracked import tracking_uri
from pipelines.train.flow import trained
from pipelines.train.replay import Replay
from pipelines.writable import check_writable
from xmodal.settings import SettingsError


@dataclass(frozen=True)
class Retrained:
    """How a retraining ended: what to print, and whether the gate kept the champion."""

    text: str
    kept: bool = False


def retrain(arguments: tuple[str, ...], report: Path) -> Retrained:
    """Goes from what has arrived to a decision about the champion; writes the report where a challenger was judged.

    Raises SettingsError, DataRefused, Locked where another retraining or promotion of the model works, Lost, Failed,
    and what storage and MLflow raise. Whatever it raises, the champion serves on and the next one continues.
    """
    recipe = load_recipe(arguments)
    model, uri = renewed_model(recipe), tracking_uri(recipe)
    if uri is None:
        raise SettingsError("tracking.uri: retrain needs an MLflow server, which holds the champion")
    check_writable(report, "--report", "report.html")
    store = recipe.compute.store()
    registry = Registry(uri, model)
    with promoting(store, registry) as promotions:
        champion = serving(promotions)
        dataset = prepare.version(recipe)
        say("\n".join(prepare.told(dataset)))
        if champion is None:
            return first(recipe, store, promotions, dataset, report)
        return next_one(recipe, store, promotions, champion, dataset, report)


def first(recipe: Recipe, store: Store, promotions: Promotions, dataset: Dataset, report: Path) -> Retrained:
    """Where no champion is, the recipe as it stands makes one."""
    recipe, model = at_version(recipe, dataset), promotions.registry.model
    done = Round.of(store, model, dataset.version, 0, recipe.fingerprint(dataset.digest))
    made = challenger(recipe, promotions.registry, done)
    if done.read("first") is None:
        evaluated(store, done, made.run, None)
        done.write("first", {"version": made.version})
    report.write_bytes(done.kept(REPORT))
    promotions.promote(made.version, "the first champion")
    return Retrained(f"{model}/{made.version} is the first champion\nreport: {report}")


def next_one(
    recipe: Recipe, store: Store, promotions: Promotions, champion: Champion, dataset: Dataset, report: Path
) -> Retrained:
    """Beside a champion: is there anything to learn, and does what learnt it take its place?"""
    name = f"{promotions.registry.model}/{champion.version}"
    earlier = trained_on(store, champion, dataset)
    warm = challenging(recipe, dataset, champion, earlier)
    done = Round.of(
        store, promotions.registry.model, dataset.version, champion.version, warm.fingerprint(dataset.digest)
    )
    seen = sought(done, champion, dataset, earlier, recipe.retrain)
    say(looked(seen, name))
    if not seen["train"]:
        return Retrained(f"{name} stays: {seen['why']}\nthis decision: {done.url}/look.json")
    made = challenger(warm, promotions.registry, done)
    gate = done.read("gate") or judge(store, done, made.run, champion)
    report.write_bytes(done.kept(REPORT))
    return decided(promotions, champion, made.version, gate, report)


def sought(
    done: Round, champion: Champion, dataset: Dataset, earlier: Dataset | None, settings: RetrainSettings
) -> dict[str, Any]:
    """What a look at what has arrived found, stored, and whether that is worth a training. It is asked again by
    today's settings, until the answer is yes: what has begun to train is found again."""
    stored = done.read("look")
    if stored and stored["train"]:
        return stored
    found: dict[str, Any]
    if stored and stored["look_at"] == settings.look_at:
        found = stored
    else:
        seen = look(done.store, champion.run, dataset, changes(dataset, earlier), settings.look_at)
        found = asdict(seen) | {"champion": asdict(champion)}
    train, why = worth(found["counted"], found["sure_fall"], settings)
    now = found | {"train": train, "why": why}
    return now if now == stored else done.write("look", now)


def challenger(recipe: Recipe, registry: Registry, done: Round) -> Champion:
    """Trains the recipe to its end; its run and the version that it has in the registry. Raises Unreachable where it
    has none although it was sent again."""
    found = done.read("trained")
    if found is None:
        run, _ = trained(recipe)
        version = registry.of_run(mlflow_run(run)) or record_again(recipe, run, registry)
        found = done.write("trained", {"version": version, "run": run.name})
    return Champion(**found)


def decided(promotions: Promotions, champion: Champion, version: int, gate: dict[str, Any], report: Path) -> Retrained:
    """Makes the gate's decision come true, once: who has set the old champion back by hand since is not overruled."""
    model = promotions.registry.model
    where = f"report: {report}"
    if not gate["promote"]:
        promotions.registry.challenge(version)
        text = f"{model}/{champion.version} stays, {model}/{version} is its challenger: {gate['told']}\n{where}"
        return Retrained(text, kept=True)
    if promotions.of(version) is not None:
        return Retrained(f"{model}/{version} was promoted before, and {champion.version} took its place since\n{where}")
    promotions.promote(version, f"retrain: {gate['told']}")
    back = f"back: xmodal promote {model}/{champion.version}"
    return Retrained(f"{model}/{version} is the champion: {gate['told']}\n{where}\n{back}")


def at_version(recipe: Recipe, dataset: Dataset) -> Recipe:
    """The recipe with the very version that was prepared."""
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"version": dataset.version})})


def challenging(recipe: Recipe, dataset: Dataset, champion: Champion, earlier: Dataset | None) -> Recipe:
    """The recipe of a challenger: the champion's weights, old images replayed, its own length and rate."""
    recipe, own, train = at_version(recipe, dataset), recipe.retrain, recipe.train
    if not own.warm:
        return recipe
    rate = own.learning_rate or train.optimizer.learning_rate
    changed: dict[str, Any] = {
        "init_from": champion.run,
        "epochs": own.epochs or train.epochs,
        "optimizer": train.optimizer.model_copy(update={"learning_rate": rate}),
        "replay": Replay(version=earlier.version, share=own.replay) if earlier and own.replay < 1 else None,
    }
    return recipe.model_copy(update={"train": train.model_copy(update=changed)})
