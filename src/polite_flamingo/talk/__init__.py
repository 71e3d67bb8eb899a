"""Rewriting and asking one at a time, from the shell or from Python: which model, its prompts, what it says."""
