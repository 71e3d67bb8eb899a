"""Rewriting raw annotations with the trained rewriter (section 4.1): a job of text questions, with a repair."""
