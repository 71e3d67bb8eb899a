"""Resumable work: questions in, a sealed journal of answers out, on one machine or a cluster, through any interruption.

A job has a type of question and a type of answer (`questions`, `outcomes`). Rewriting, drafting and scoring are three
uses of it; nothing here knows of them.
"""
