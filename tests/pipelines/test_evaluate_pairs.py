"""What a host or ITM scores: all pairs and shortlists, against plain loops over single pairs."""

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines.evaluate.captioned import file_order, recalls
from pipelines.evaluate.flow import examined
from pipelines.evaluate.pairs import BEHIND, again, protocols
from pipelines.evaluate.settings import EvaluationSettings
from pipelines.evaluate.subject import Subject
from pipelines.experiments.measures import host_recall_sum
from pipelines.pair_scores import Tokens, host_scores, pair_scores, tokens
from pipelines.search import ranked_again
from tests.pipelines.precomp_folder import write_precomp
from tests.pipelines.road import untrained_run
from tests.pipelines.test_precomp_road import made
from tests.xmodal.tiny import sizes
from xmodal.matchers import Matcher
from xmodal.matchers.sgraf import SGRAF
from xmodal.metrics.retrieval import dots, ranks, same_owner
from xmodal.metrics.streaming import streamed
from xmodal.settings import SettingsError, parse
from xmodal.tasks.matching import Matching

SIZES = {"train": 20, "dev": 6, "test": 14}
HOST = {"tasks": {"uto": None, "itc": {}, "triplet": {}}, "matcher": {"kind": "scan", "width": 12}}
ITM = {"tasks": {"uto": None, "itc": {}, "itm": {"fusion": {"width": 16, "depth": 1, "heads": 2}}}}
PLAIN: dict[str, Any] = {
    "image_enhance": [],
    "head": {"kind": "linear"},
    "text_head": None,
    "pooling": {"kind": "mean"},
}


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Subject]:
    """Untrained models of one dataset: with a host, with ITM, with neither."""
    folder = tmp_path_factory.mktemp("pairs")
    write_precomp(folder / "archive", SIZES)
    found = {}
    for name, model in {"host": HOST, "itm": ITM, "neither": {"tasks": {"uto": None, "itc": {}}}}.items():
        recipe, _ = made(folder / "archive", folder / "root", model=PLAIN | model, train={"words": None})
        torch.manual_seed(3)
        found[name] = examined(recipe.compute.store(), untrained_run(recipe, f"{name}-0000-0").name, ())[0]
    return found


def read(subject: Subject) -> Tokens:
    return tokens(subject.model.network, subject.rows, subject.model.device)


def one_by_one(subject: Subject) -> Tensor:
    """(N, M) scores, each pair by itself, its text without padding."""
    network, own = subject.model.network, read(subject)
    scores = torch.zeros(len(own.image), len(own.text))
    for image in range(len(own.image)):
        for text in range(len(own.text)):
            length = int(own.mask[text].sum())
            words, mask = own.text[text : text + 1, :length], own.mask[text : text + 1, :length]
            pixels = own.image[image : image + 1]
            if isinstance(network.host, Matcher):
                host = network.host
                scores[image, text] = host.block(host.image_side(pixels), host.text_side(words, mask))[0, 0]
            else:
                logits = cast(Matching, network.tasks["itm"]).logits(words, mask, pixels)[0]
                scores[image, text] = logits[1] - logits[0]
    return scores


@pytest.mark.parametrize("name", ["host", "itm"])
def test_blocks_of_pairs_score_as_single_pairs(subjects: dict[str, Subject], name: str) -> None:
    subject = subjects[name]
    scores = pair_scores(subject.model.network, read(subject))
    whole = scores(torch.arange(len(subject.gallery.images)), torch.arange(len(subject.gallery.texts)))
    wanted = one_by_one(subject)
    assert wanted.std() > 1e-4
    torch.testing.assert_close(whole, wanted, rtol=1e-4, atol=1e-5)


def test_a_host_that_saturates_is_ranked_as_its_exact_scores_are() -> None:
    """A sigmoid of float32 puts its best pairs at one value; their order is that of float64."""
    torch.manual_seed(0)
    settings = SGRAF(kind="sgraf", width=8, similarity_width=6)
    host = settings.build(sizes(image_width=12, text_width=8), torch.nn.ModuleDict()).eval()
    torch.nn.init.constant_(host.score.bias, 16.0)
    read = Tokens(torch.randn(5, 4, 12), torch.randn(10, 6, 8), torch.ones(10, 6, dtype=torch.bool))
    owner = torch.arange(10) // 2
    found = streamed(host_scores(host, read), owner, 5, (2, 3))
    with torch.no_grad():
        host.double()
        sides = host.image_side(read.image.double()), host.text_side(read.text.double(), read.mask)
        exact = host.score_all_pairs(*sides)
    assert exact.min() > 1 - 3e-7
    relevant = same_owner(torch.arange(5), owner), same_owner(owner, torch.arange(5))
    wanted = ranks(lambda rows: exact[rows], relevant[0], 5), ranks(lambda rows: exact.T[rows], relevant[1], 10)
    for one, other in zip(found, wanted, strict=True):
        assert np.array_equal(one.rank, other.rank) and np.array_equal(one.pessimistic, other.pessimistic)


def figures(subject: Subject, **settings: Any) -> dict[str, float]:
    groups = protocols(subject, parse(EvaluationSettings, settings))
    return {row.name: row.value for group in groups for row in group.figures}


def test_the_host_is_measured_over_all_pairs(subjects: dict[str, Subject]) -> None:
    subject = subjects["host"]
    found, scores = subject.gallery, one_by_one(subject)
    wanted = recalls(
        "test/host",
        ranks(lambda rows: scores[rows], found.relevant_texts(), len(found.images)),
        ranks(lambda rows: scores.T[rows], found.relevant_images(), len(found.texts)),
        subject.groups,
        subject.text_groups,
    )
    measured = figures(subject)
    assert measured == pytest.approx({row.name: row.value for row in wanted}) and "test/host/rsum" in measured


def test_the_host_is_measured_within_folds(subjects: dict[str, Subject]) -> None:
    """The mean over folds, each with its own images and texts alone, in the order of the file."""
    subject, fold = subjects["host"], 5
    scores, owner, order = one_by_one(subject), subject.gallery.owner, torch.from_numpy(file_order(subject))
    right = []
    for start in range(0, len(order) - fold + 1, fold):
        images = order[start : start + fold]
        texts = torch.nonzero(torch.isin(owner, images))[:, 0]
        block = scores[images][:, texts]
        right.append((images[block.argmax(0)] == owner[texts]).float().mean())
    measured = figures(subject, fold_images=fold)
    assert len(right) > 1 and measured["test/folds/host/t2i/r1"] == pytest.approx(
        100 * float(torch.stack(right).mean())
    )
    assert measured["test/host/rsum"] == figures(subject)["test/host/rsum"] < measured["test/folds/host/rsum"]


@pytest.mark.parametrize("name", ["host", "itm"])
def test_a_list_of_everything_is_the_whole_ranking(subjects: dict[str, Subject], name: str) -> None:
    subject = subjects[name]
    found, scores = subject.gallery, one_by_one(subject)
    i2t = ranks(lambda rows: scores[rows], found.relevant_texts(), len(found.images))
    measured = figures(subject, rerank=1000)
    assert measured["test/reranked/i2t/r5"] == pytest.approx(100 * float(np.mean(i2t.recall(5))))


def test_what_is_not_on_the_list_ranks_behind_it(subjects: dict[str, Subject]) -> None:
    subject = subjects["itm"]
    found = subject.gallery
    first = dots(found.images, found.texts)
    rows = again(first, lambda images, texts: texts[None].float(), len(found.images), len(found.texts), 10)
    for image in range(len(found.images)):
        kept = set(torch.topk(first(slice(image, image + 1))[0], 10).indices.tolist())
        scored = rows(slice(image, image + 1))[0]
        assert {n for n, value in enumerate(scored.tolist()) if value > BEHIND} == kept
        assert all(scored[n] == n for n in kept)
    group = protocols(subject, parse(EvaluationSettings, {"rerank": 10}))[-1]
    assert "holds a right answer for" in group.note and "first 10" in group.title


def test_surveys_texts_are_found_among_all_captions(subjects: dict[str, Subject]) -> None:
    """A gallery that keeps some captions alone scores those."""
    subject = subjects["itm"]
    kept = torch.tensor([4, 9, 30])
    gallery = replace(
        subject.gallery,
        texts=subject.gallery.texts[kept],
        text_codes=subject.gallery.text_codes[kept],
        owner=subject.gallery.owner[kept],
        captions=[subject.gallery.captions[n] for n in kept.tolist()],
        written=kept,
    )
    measured = figures(replace(subject, gallery=gallery), rerank=10)
    scores, owner = one_by_one(subject)[:, kept], gallery.owner
    above = (scores > scores[owner, torch.arange(3)]).sum(0)
    assert measured["test/reranked/t2i/r1"] == pytest.approx(100 * float((above == 0).float().mean()))


def test_without_host_or_itm_there_is_nothing_to_rank_by(subjects: dict[str, Subject]) -> None:
    assert figures(subjects["neither"]) == {}
    with pytest.raises(SettingsError, match="rerank: this model has neither a matcher nor the task itm"):
        figures(subjects["neither"], rerank=20)
    with pytest.raises(SettingsError, match="rerank"):
        parse(EvaluationSettings, {"rerank": 3})


def test_both_protocols_stand_apart(subjects: dict[str, Subject]) -> None:
    titles = [group.title for group in protocols(subjects["host"], parse(EvaluationSettings, {"rerank": 12}))]
    assert titles == ["Retrieval by cross attention, one host", "Retrieval, the first 12 of each query ranked again"]


@pytest.mark.parametrize("name", ["host", "itm"])
def test_search_ranks_the_first_again(subjects: dict[str, Subject], name: str) -> None:
    """The same images, by the score of the pair; what is not on the list is not found."""
    subject = subjects[name]
    model, found = subject.model, subject.embedded
    text = found.captions[3][0]["text"]
    first = torch.cat(found.images) @ model.text_vectors([text])[0]
    scored = ranked_again(model, text, subject.rows, found, first, 6)
    kept = torch.topk(first, 6).indices
    assert {n for n, value in enumerate(scored.tolist()) if value > BEHIND} == set(kept.tolist())
    wanted = one_by_one(subject)[kept, 15]  # the first of five captions of image 3
    torch.testing.assert_close(scored[kept], wanted, rtol=1e-4, atol=1e-5)


def test_an_experiment_measures_the_host_image_by_image(subjects: dict[str, Subject]) -> None:
    subject = subjects["host"]
    found = host_recall_sum(subject)
    assert len(found.values) == len(subject.records)
    assert float(np.mean(found.values)) == pytest.approx(figures(subject)["test/host/rsum"])
