"""What the log of a local broker says about transactions."""

from surgetank.kafka.local.cluster import LocalCluster


def markers_left_out(cluster: LocalCluster) -> int:
    """Return how often the only broker left out markers of a transaction, because a partition of it had no leader."""
    log = (cluster.data / "broker-1" / "server.log").read_text(errors="replace")
    return log.count("Couldn't find leader endpoint for partitions")
