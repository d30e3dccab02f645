"""Three real brokers with replication, as production has them; small heaps, because one machine carries all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from confluent_kafka.admin import AdminClient

from tests.support.kafka import KafkaServer, cluster_id, free_port

NODES = 3
#: Enough for a few small partitions; about 250 MB resident each.
HEAP_MBYTES = 192


class KafkaCluster:
    """Nodes 1 to 3 by number; each can be killed and started again on its data."""

    def __init__(self, directory: Path) -> None:
        controllers = {node: free_port() for node in range(1, NODES + 1)}
        common = {
            "voters": ",".join(f"{node}@127.0.0.1:{port}" for node, port in controllers.items()),
            "cluster_id": cluster_id(),
        }
        self.nodes = {
            node: KafkaServer(
                directory / f"node-{node}",
                template="cluster.properties",
                values=common | {"node_id": node, "controller_port": port},
                heap_mbytes=HEAP_MBYTES,
            )
            for node, port in controllers.items()
        }

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(server.bootstrap_servers for server in self.nodes.values())

    def start(self, *nodes: int) -> None:
        """Start these, by default all, at once: none answers before it sees a majority."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda node: self.nodes[node].start(), nodes or self.nodes))

    def leader(self, topic: str, partition: int = 0) -> int:
        """Return the node that leads a partition."""
        metadata = AdminClient({"bootstrap.servers": self.bootstrap_servers}).list_topics(topic, timeout=20)
        return int(metadata.topics[topic].partitions[partition].leader)

    def kill(self) -> None:
        for server in self.nodes.values():
            server.kill()
