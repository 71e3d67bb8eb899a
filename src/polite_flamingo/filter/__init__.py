"""Filters (section 3.3): pure functions of score columns and thresholds."""
