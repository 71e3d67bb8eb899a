"""Rewriting raw annotations with the trained rewriter (section 3.2): a job of text questions, with a repair."""
