"""Parsing that several readers share."""
