"""Species accuracy by leave-one-place-out: `python -m tests.bench.places RECIPE...`, hours or minutes by the recipe.

For archives with too few places to set some aside. Each place that holds a species which another place holds too is
held out in turn: a dataset version whose only test place it is, a training run, and the model's answer for every frame
of a species that this run was trained on. Answers of all folds are counted together, each place being one group of the
bootstrap. What is trained and prepared is kept, so a repeated call does only what is missing.

Its validation places should be ones that share no species with others (choose `data.split.seed`), so that no fold loses
training frames to them. Then validation chooses nothing, and each fold's last checkpoint answers.
"""

import sys
from collections import Counter, defaultdict
from typing import Any

from pipelines.dataset import Dataset
from pipelines.evaluate.species import named
from pipelines.evaluate.subject import Subject
from pipelines.prepare.facts import taxon_fact
from pipelines.prepare.verb import prepare
from pipelines.recipe import Recipe, load_recipe
from pipelines.taxa import species_key
from pipelines.train.flow import choose_run, train
from pipelines.train.plan import sample_reader
from pipelines.train.runs import opened
from xmodal.inference import Inference
from xmodal.metrics import baselines, tables
from xmodal.metrics.classification import hits

Fold = tuple[list[str], list[str], list[str], list[str]]
"""Of one held-out place: true species, predicted ones, the largest training class for each, training species."""


def shared_places(recipe: Recipe) -> list[str]:
    """Places that hold a species which another place holds too, by the surveys' own metadata."""
    places: defaultdict[str, set[str]] = defaultdict(set)
    for survey in recipe.data.surveys:
        tables = survey.source.read(survey.store())
        place = dict(zip(*(tables.media[name].to_pylist() for name in ("media_id", "place")), strict=True))
        for row in tables.observations.select(["media_id", "taxon", "rank", "lineage", "names"]).to_pylist():
            species = species_key(taxon_fact([row]))
            if species is not None and place[row["media_id"]] is not None:
                places[species].add(place[row["media_id"]])
    return sorted({name for held in places.values() if len(held) > 1 for name in held})


def fold(arguments: tuple[str, ...], place: str) -> Fold:
    """Prepares, trains and asks with `place` held out."""
    own = (*arguments, "data.split.test=0", f'data.split.held_out=["{place}"]')
    prepare(own)
    train(own)
    recipe = load_recipe(own)
    store = recipe.compute.store()
    dataset = Dataset.open(store, recipe.data.name)
    with opened(store, choose_run(store, recipe, dataset.digest, again=False).name) as directory:
        model = Inference.load(directory)
    subject = Subject.of(model, dataset, sample_reader(recipe, dataset), "test")
    found = named(subject)
    if found is None:
        return [], [], [], []
    largest = baselines.largest_class(subject.train_places[1], len(found.truth))
    return found.truth, found.predicted, largest, found.candidates


def told(folds: dict[str, Fold]) -> list[str]:
    """A line a place, then the figures of all answers."""
    lines = [
        f"{place:<20} {len(truth):>4} frames  {100 * float(hits(truth, predicted).mean()):5.1f} % right"
        for place, (truth, predicted, _, _) in folds.items()
        if truth
    ]
    truth, predicted, largest = ([one for found in folds.values() for one in found[part]] for part in range(3))
    groups = [place for place, found in folds.items() for _ in found[0]]
    candidates = sorted({name for found in folds.values() for name in found[3]})
    figures = tables.species("places", truth, predicted, candidates, groups)
    figures += [tables.share("places/largest_class", "", hits(truth, largest), 1 / len(candidates), groups)]
    for one in figures:
        bounds = "" if one.interval is None else f"({one.low:.1f} to {one.high:.1f})"
        chance = "" if one.chance is None else f"  chance {one.chance:.1f}"
        lines.append(f"{one.name:<28} {one.value:5.1f} % {bounds}{chance}  n {one.n}")
    return [*lines, f"species asked for: {dict(Counter(truth).most_common())}"]


def main(arguments: list[Any]) -> None:
    recipe = load_recipe(arguments)
    folds = {place: fold(tuple(arguments), place) for place in shared_places(recipe)}
    print("\n".join(told(folds)))


if __name__ == "__main__":
    main(sys.argv[1:])
