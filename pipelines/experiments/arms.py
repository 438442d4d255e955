"""The tables: what is asked on which data. One place for a new arm."""

from pipelines.experiments.measures import recall_sum, species
from pipelines.experiments.table import Arm, Table

FLICKR8K = Table(
    name="flickr8k",
    title="Flickr8k, heads on frozen features",
    recipe=("flickr8k", "model.embed_dim=256", "model.queue.size=0", "train.epochs=20"),
    arms=(
        Arm("baseline", asks="ITC in the batch, keys of the momentum encoder (m = 0.99)"),
        Arm("+ queue", ("model.queue.size=2048",), asks="are 2,048 stored keys better than 256 of the batch"),
        Arm("batch of 1,024", ("train.global_batch=1024",), asks="the queue's control: as many fresh negatives"),
    ),
    trials=(
        ("train.optimizer.learning_rate=1e-3",),
        ("train.optimizer.learning_rate=3e-4",),
        ("train.optimizer.learning_rate=1e-3", "model.head.dropout=0.6"),
        ("train.optimizer.learning_rate=1e-3", "model.temperature.initial=0.03"),
    ),
    seeds=3,
    measure=recall_sum,
    unit="rsum",
)
CAMERA_TRAPS = Table(
    name="camera-traps",
    title="Camera traps, species at unseen places",
    recipe=("camera-traps",),
    arms=(
        Arm("baseline", asks="the recipe: ITC with 512 stored keys, captioning beside it"),
        Arm("no queue", ("model.queue.size=0",), asks="what the stored keys give"),
        Arm("head dropout", ("model.head.dropout=0.5",), asks="do the heads know their training places by heart"),
        Arm("species alike", ("train.class_power=0",), asks="does it help to see all species equally often"),
    ),
    trials=(
        ("train.optimizer.learning_rate=5e-4",),
        ("train.optimizer.learning_rate=2e-3",),
        ("train.optimizer.learning_rate=5e-4", "train.optimizer.weight_decay=0.5"),
        ("train.optimizer.learning_rate=5e-4", "model.temperature.initial=0.03"),
    ),
    seeds=3,
    measure=species,
    unit="species, micro %",
)
TABLES = {table.name: table for table in (FLICKR8K, CAMERA_TRAPS)}
