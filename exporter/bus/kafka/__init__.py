"""The bus on Apache Kafka: transactions, fencing by transactional id, membership and delivery by consumer groups."""
