"""Annotation formats: one file per format, each a reader from official files to samples.

A new format is one module with one class (see `polite_flamingo.sources.base.Source`) and one entry in ``catalogue/``
(see `polite_flamingo.sources.registry`).
"""

from polite_flamingo.sources.registry import Entry, catalogue, load_source

__all__ = ["Entry", "catalogue", "load_source"]
