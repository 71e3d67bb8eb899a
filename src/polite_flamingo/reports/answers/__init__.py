"""The page of an evaluation of files of answers."""
