"""Filters (section 4.2): pure functions of score columns and thresholds."""
