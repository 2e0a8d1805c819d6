"""A run over the machines of a Ray cluster: ``facekit annotate --ray ADDRESS``.

The driver, where the command was started, lists the photos, cuts them into shards and keeps the
journal; Ray Data hands the shards to its workers, which read the photos themselves and ask the
servers. What a worker sends back is one record a photo, as the run on one machine has it, so both
end with the same files. A worker that dies costs its shard a second try, and then tries of each
photo by itself; a driver that dies leaves the journal.
"""

from facekit.cluster.finder import ray_finder

__all__ = ["ray_finder"]
