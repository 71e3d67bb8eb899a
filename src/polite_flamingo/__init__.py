"""Polite Flamingo: turn terse vision-language annotations into polite, grounded instruction data, and tune on it."""

__version__ = "0.1.0"
