"""Continuous batching for requests that come one by one: an engine that owns a model, and tickets for its texts."""
