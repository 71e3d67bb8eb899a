"""Rewriting raw annotations with the trained rewriter (section 3.2)."""
