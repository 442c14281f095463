"""Clients of Kafka and what they need: topics, acknowledged production, outages, fatal errors, schema registries."""
