"""What the small models for photographs are worth, measured on photographs that nothing of them has seen: one table."""
