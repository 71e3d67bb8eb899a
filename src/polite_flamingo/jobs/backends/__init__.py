"""Backends that generate text, each behind the protocol of `text`."""
