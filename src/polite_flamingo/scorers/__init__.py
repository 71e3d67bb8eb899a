"""Scorers: each writes one column about a rewrite; none decides."""
