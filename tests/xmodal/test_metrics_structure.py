"""RSA, NMI, paraphrases, kNN, linear probe, cycle: closed forms and slow references."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from xmodal.metrics import structure

LINEAGES = {
    name: {"species": name, "genus": genus, "family": family, "order": order, "class": "mammals"}
    for name, genus, family, order in (
        ("red fox", "vulpes", "canids", "carnivores"),
        ("arctic fox", "vulpes", "canids", "carnivores"),
        ("wolf", "canis", "canids", "carnivores"),
        ("lynx", "lynx", "felids", "carnivores"),
        ("hare", "lepus", "leporids", "lagomorphs"),
    )
}
NAMES = sorted(LINEAGES)


def unit(rows: int, width: int = 8, seed: int = 0) -> Tensor:
    return normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def clusters(rows: int = 60) -> tuple[Tensor, list[str]]:
    """Three tight clusters."""
    labels = [f"s{n % 3}" for n in range(rows)]
    centres = torch.eye(8)[:3]
    return normalize(centres[torch.arange(rows) % 3] + 0.05 * unit(rows), dim=1), labels


def test_prototypes_are_mean_directions() -> None:
    points, labels = clusters()
    found, names = structure.prototypes(points, labels)
    assert names == ["s0", "s1", "s2"]
    for n, name in enumerate(names):
        mean = points[[one == name for one in labels]].double().mean(0)
        assert torch.allclose(found[n], mean / mean.norm())


def test_images_find_those_of_their_taxon_among_all_others() -> None:
    points, taxa = unit(24), [f"g{n % 5 if n else 9}" for n in range(24)]
    found, similar = structure.image_map(taxa, points), (points @ points.T).numpy()
    for n in range(24):
        order = [m for m in np.argsort(-similar[n], kind="stable") if m != n]
        right = [taxa[m] == taxa[n] for m in order]
        r = sum(right)
        wanted = [sum(right[: k + 1]) / (k + 1) for k in range(r) if right[k]]
        assert math.isnan(found.map_at_r[n]) if r == 0 else found.map_at_r[n] == pytest.approx(sum(wanted) / r)
    assert math.isnan(found.map_at_r[0]) and found.gallery == 23
    dealt = [structure.image_map(np.random.default_rng(n).permutation(taxa), points) for n in range(300)]
    chance = np.nanmean([one.chance_map_at_r() for one in dealt])
    assert np.nanmean([one.map_at_r for one in dealt]) == pytest.approx(chance, abs=0.01)


def test_nothing_is_no_distance() -> None:
    assert structure.taxonomic_distances([], {}).shape == (0, 0)
    assert math.isnan(structure.rsa(unit(0), np.zeros((0, 0))))


def test_distances_are_rank_steps() -> None:
    found = structure.taxonomic_distances(NAMES, LINEAGES)
    place = {name: n for n, name in enumerate(NAMES)}
    steps = {("red fox", "red fox"): 0, ("red fox", "arctic fox"): 1, ("red fox", "wolf"): 2, ("red fox", "lynx"): 3,
             ("lynx", "hare"): 4}  # fmt: skip
    assert all(found[place[a], place[b]] == found[place[b], place[a]] == n for (a, b), n in steps.items())


def test_rsa_of_a_space_that_is_the_taxonomy_is_one() -> None:
    """Vectors whose cosines fall with each rank that two species do not share."""
    distances = structure.taxonomic_distances(NAMES, LINEAGES)
    values, vectors = np.linalg.eigh(1 - distances / 5)
    points = torch.from_numpy(vectors * np.sqrt(values.clip(0)))
    assert structure.rsa(points, distances) == pytest.approx(1)
    assert abs(structure.rsa(unit(5), distances)) < 0.9


def test_rsa_is_spearman_of_the_upper_triangle() -> None:
    points, distances = unit(5).double(), structure.taxonomic_distances(NAMES, LINEAGES)
    pairs = [(a, b) for a in range(5) for b in range(a + 1, 5)]

    def ranks(values: list[float]) -> np.ndarray:
        return np.array([sum(other < one for other in values) + (sum(other == one for other in values) - 1) / 2
                         for one in values])  # fmt: skip

    first = ranks([1 - float(points[a] @ points[b]) for a, b in pairs])
    second = ranks([distances[a, b] for a, b in pairs])
    assert structure.rsa(points, distances) == pytest.approx(np.corrcoef(first, second)[0, 1])


def test_rsa_without_known_distances_is_nan() -> None:
    assert math.isnan(structure.rsa(unit(5), np.full((5, 5), np.nan)))
    assert structure.complete(["wolf", "animal"], LINEAGES) == [0]


def test_nmi_finds_clusters_and_has_a_chance_level() -> None:
    points, labels = clusters()
    found, chance = structure.nmi(points, labels)
    assert found == pytest.approx(1) and 0 <= chance < 0.2
    random, level = structure.nmi(unit(60), labels)
    assert abs(random - level) < 0.2


def test_paraphrase_variance_by_hand() -> None:
    texts, owner = unit(6).double(), torch.tensor([4, 4, 9, 7, 7, 7])
    wanted = []
    for image in (4, 7):
        own = texts[owner == image]
        wanted.append(float((own - own.mean(0)).square().sum(1).mean()))
    assert np.allclose(structure.paraphrase_variance(texts, owner), wanted)
    assert structure.paraphrase_variance(texts[[0, 0]], torch.tensor([1, 1])) == pytest.approx(0, abs=1e-6)
    assert structure.chance_paraphrase_variance(unit(200), torch.arange(100).repeat(2)) == pytest.approx(0.5, abs=0.05)


def test_knn_weighs_its_votes() -> None:
    points, labels = clusters()
    assert structure.knn(points, labels, points, k=5) == labels
    train, near = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), normalize(torch.tensor([[1.0, 0.7]]), dim=1)
    assert structure.knn(train, ["a", "b", "b"], near, k=3, temperature=0.07) == ["a"]
    assert structure.knn(train, ["a", "b", "b"], near, k=3, temperature=10.0) == ["b"]


def test_the_linear_probe_separates_clusters_and_weighs_labels_equally() -> None:
    points, labels = clusters()
    assert structure.linear_probe(points, labels, points) == labels
    rare = [*range(0, 60, 3), 1, 2]  # s1 and s2 have one row each
    assert structure.linear_probe(points[rare], [labels[n] for n in rare], points) == labels


def test_cycle_finds_the_nearest_image() -> None:
    images = unit(300)
    assert torch.equal(structure.cycle(images, images), torch.arange(300))
    assert structure.cycle(images, images.roll(1, 0)).tolist() == [299, *range(299)]
