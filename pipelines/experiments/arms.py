"""The tables: what is asked on which data. One place for a new arm."""

from pipelines.experiments.measures import recall_sum
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
TABLES = {table.name: table for table in (FLICKR8K,)}
