"""What a profile will need: its trainings (`training`), and curation of any number of records (`curation`)."""
