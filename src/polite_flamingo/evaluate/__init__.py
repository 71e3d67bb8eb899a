"""Evaluation (section 5): understanding and politeness, with intervals and figures."""
