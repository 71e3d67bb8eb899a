"""A look at a few records before the whole run: rewritten, scored, filtered, shown, and what all of them would cost."""
