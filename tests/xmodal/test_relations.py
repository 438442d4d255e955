"""Relations against a loop over pairs, and the cases the rules are made for."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from xmodal.queue import Facts
from xmodal.relations import Relations, image_to_text, strangers, text_to_image, truth


def facts(rows: int, seed: int) -> Facts:
    """Few distinct ids and codes, so that every relation occurs."""
    draw = np.random.default_rng(seed)

    def ids(low: int) -> torch.Tensor:
        return torch.from_numpy(draw.integers(low, 4, rows))

    codes = [torch.from_numpy(draw.integers(-1, 2, (rows, 2)).astype(np.int32)) for _ in range(2)]
    return Facts(ids(0), ids(0), ids(-1), codes[0], codes[1], torch.ones(rows, dtype=torch.bool))


def kind(query: Any, candidate: Any, is_own: bool, image: Any, text: Any) -> str:
    """The rules one after the other; `image` and `text` are the pair's codes."""
    if is_own:
        return "own"
    stated = any(code >= 0 for code in text)
    if stated and all(code in (-1, value) for code, value in zip(text, image, strict=True)):
        return "positive"
    if query["sample"] == candidate["sample"] or (stated and query["caption"] == candidate["caption"]):
        return "positive"
    if query["caption"] == candidate["caption"] or query["sequence"] == candidate["sequence"] != -1:
        return "ignored"
    if stated and all(code == -1 or value in (-1, code) for code, value in zip(text, image, strict=True)):
        return "ignored"
    return "unrelated"


def named(rows: Facts) -> list[dict[str, Any]]:
    lists = [rows.sample_id, rows.caption_id, rows.sequence_id, rows.image_codes, rows.text_codes]
    names = ("sample", "caption", "sequence", "image", "text")
    return [dict(zip(names, row, strict=True)) for row in zip(*(one.tolist() for one in lists), strict=True)]


def table(relations: Relations) -> list[list[str]]:
    masks = {name: getattr(relations, name) for name in ("own", "positive", "ignored", "unrelated")}
    assert (torch.stack(list(masks.values())).sum(0) == 1).all()
    rows, columns = relations.own.shape
    return [[next(k for k, m in masks.items() if m[i, j]) for j in range(columns)] for i in range(rows)]


@given(st.integers(0, 10_000))
def test_relations_are_the_rules_pair_by_pair(seed: int) -> None:
    candidates = facts(9, seed)
    own = torch.tensor([4, 0, 7])
    queries = candidates.take(own)
    pairs = [[(q, c, j == own[i]) for j, c in enumerate(named(candidates))] for i, q in enumerate(named(queries))]
    i2t = [[kind(q, c, is_own, q["image"], c["text"]) for q, c, is_own in row] for row in pairs]
    t2i = [[kind(q, c, is_own, c["image"], q["text"]) for q, c, is_own in row] for row in pairs]
    assert table(image_to_text(queries, candidates, own)) == i2t
    assert table(text_to_image(queries, candidates, own)) == t2i


def test_a_text_that_says_less_is_true_of_more_images() -> None:
    image = torch.tensor([[3, 1], [3, 0], [3, -1], [5, 1]], dtype=torch.int32)
    text = torch.tensor([[3, -1], [3, 1], [-1, -1]], dtype=torch.int32)
    true, possible = truth(text, image)
    assert true.int().tolist() == [[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]]
    assert possible.int().tolist() == [[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 1]]


def test_no_attributes_leave_only_the_ids() -> None:
    rows = facts(5, 0)
    bare = replace(rows, image_codes=rows.image_codes[:, :0], text_codes=rows.text_codes[:, :0])
    relations = text_to_image(bare, bare, torch.arange(5))
    same = rows.sample_id[:, None] == rows.sample_id[None]
    assert torch.equal(relations.positive | relations.own, same)


def pair_of(image: list[int], text: list[int]) -> Facts:
    """One pair with codes of type, class, order, family, genus, species, name, and of light (the twelfth)."""
    seen, said = (torch.tensor([[*row[:7], -1, -1, -1, -1, row[7]]], dtype=torch.int32) for row in (image, text))
    one = torch.zeros(1, dtype=torch.int64)
    return Facts(one, one, one - 1, seen, said, torch.ones(1, dtype=torch.bool))


NO = -1
ROE, RED = [0, 0, 0, 0, 0, 0, NO, 0], [0, 0, 0, 0, 1, 1, NO, 1]
FOX, WOLF = [0, 0, 1, 1, 2, 2, NO, 1], [0, NO, NO, NO, 3, 3, NO, 1]
PAIRS = {
    "roe deer": pair_of(ROE, [0, NO, NO, NO, NO, 0, NO, NO]),
    "red deer": pair_of(RED, [0, NO, NO, NO, NO, 1, NO, NO]),
    "a deer at night": pair_of(RED, [0, NO, NO, 0, NO, NO, NO, 1]),
    "red fox": pair_of(FOX, [0, NO, NO, NO, NO, 2, NO, NO]),
    "mammal at night": pair_of(FOX, [0, 0, NO, NO, NO, NO, NO, 1]),
    "an animal at night": pair_of(FOX, [0, NO, NO, NO, NO, NO, NO, 1]),
    "wolf": pair_of(WOLF, [0, NO, NO, NO, NO, 3, NO, NO]),
    "moose": pair_of([0, NO, NO, NO, NO, NO, 0, 1], [0, NO, NO, NO, NO, NO, 0, NO]),
    "elk": pair_of([0, NO, NO, NO, NO, NO, 1, 1], [0, NO, NO, NO, NO, NO, 1, NO]),
    "an empty image": pair_of([3, *[NO] * 6, 1], [3, *[NO] * 7]),
    "two dogs in snow": pair_of([NO] * 8, [NO] * 8),
    "a man on a bike": pair_of([*[NO] * 7, 1], [NO] * 8),
}
CAPTIONED = ("two dogs in snow", "a man on a bike")


def test_strangers_show_other_animals_whatever_the_light() -> None:
    """No taxon, one above or below, kin, names alone: none of them are; captioned sets have nothing but strangers."""
    found = {
        frozenset((one, other))
        for one, its in PAIRS.items()
        for other, theirs in PAIRS.items()
        if strangers(its, theirs).item()
    }
    animals = {"roe deer", "red deer", "red fox", "wolf"}
    wanted = {frozenset((one, other)) for one in animals for other in animals if one != other}
    wanted -= {frozenset(("roe deer", "red deer"))}
    wanted |= {frozenset(("a deer at night", "red fox"))}
    wanted |= {frozenset(("an empty image", other)) for other in PAIRS if other not in ("an empty image", *CAPTIONED)}
    wanted |= {frozenset((one, other)) for one in CAPTIONED for other in CAPTIONED}
    assert found == wanted
