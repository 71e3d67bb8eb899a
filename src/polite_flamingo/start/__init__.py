"""A project of one's own: what lies in a folder of data, the profile that fits it, the files of the project."""
