"""Asking people (section 5, appendix F): a study drawn, judged on a web page, and counted."""
