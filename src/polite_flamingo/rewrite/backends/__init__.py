"""Backends: the models that answer requests, each behind the protocol of `base`."""
