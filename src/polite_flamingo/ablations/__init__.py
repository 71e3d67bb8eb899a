"""Ablations of Figure 9 through DVC experiments: one per variant and seed, then a table, two figures and a page."""
