"""Placement groups whose maker is gone are freed, those of the living stay."""

import pytest
import ray
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group

from infra.groups import free_forsaken

pytestmark = [pytest.mark.ray, pytest.mark.services]


@ray.remote(num_cpus=0)
class Maker:
    """What Ray Train's controller does: a group of its own, for others."""

    def make(self) -> PlacementGroup:
        group = placement_group([{"CPU": 0.01}])
        ray.get(group.ready())
        return group


def state(group: PlacementGroup) -> str:
    return placement_group_table(group)["state"]


def test_a_group_goes_when_its_maker_is_dead_and_not_before(ray_cluster: str) -> None:
    free_forsaken()
    makers = [Maker.remote() for _ in range(2)]
    left, kept = ray.get([maker.make.remote() for maker in makers])
    own = placement_group([{"CPU": 0.01}])
    ray.get(own.ready())
    assert free_forsaken() == 0
    ray.kill(makers[0])  # pyright: ignore[reportArgumentType]
    while free_forsaken() == 0:
        assert state(left) == "CREATED"
    assert [state(one) for one in (left, kept, own)] == ["REMOVED", "CREATED", "CREATED"]
    for group in (kept, own):
        remove_placement_group(group)
