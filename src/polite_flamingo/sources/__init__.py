"""Annotation formats: one file per format, each a reader from official files to samples."""
