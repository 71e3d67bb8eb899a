"""What people read: the headline figures, one record's life, the filtering page."""
