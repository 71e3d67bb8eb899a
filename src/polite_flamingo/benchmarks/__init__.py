"""Answers of any model beside each other: files of answers and of questions, official metrics, honest intervals."""
