"""Streams and buckets of JetStream."""
