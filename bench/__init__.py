"""Benchmarks: ``make bench``. Everything they need is generated; figures go to ``reports/bench``."""
