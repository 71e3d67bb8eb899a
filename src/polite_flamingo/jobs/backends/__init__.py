"""Backends: the models that answer requests, each behind the protocol of `base`."""

from polite_flamingo.jobs.backends.base import Backend, Request, failed
from polite_flamingo.jobs.backends.load import Place, load_backend

__all__ = ["Backend", "Place", "Request", "failed", "load_backend"]
