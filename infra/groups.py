"""Placement groups of Ray whose maker is gone: they hold their CPUs for ever, and who comes next waits in silence.

Ray's own cleaner asks the dashboard, and dies where two clusters run on a machine; groups that were made after their
job had ended are beyond it. Here Ray's control store is asked, which every cluster has.
"""

import ray
from ray._private import state
from ray.core.generated.gcs_pb2 import PlacementGroupTableData  # pyright: ignore[reportAttributeAccessIssue]
from ray.util.placement_group import PlacementGroup, remove_placement_group


def free_forsaken() -> int:
    """Removes groups whose job has ended or whose making actor is dead, detached ones apart; returns how many."""
    over = {job["JobID"] for job in state.jobs() if job["IsDead"]}
    dead = {actor["ActorID"] for actor in state.actors(actor_state_name="DEAD").values()}
    found = 0
    for data in state.state._connect_and_get_accessor().get_placement_group_table():
        group = PlacementGroupTableData.FromString(data)
        gone = group.creator_job_id.hex() in over or group.creator_actor_id.hex() in dead
        if gone and not group.is_detached and group.state != PlacementGroupTableData.REMOVED:
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))
            found += 1
    return found
