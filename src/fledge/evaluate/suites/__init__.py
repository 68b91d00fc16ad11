"""Suites of questions as they are published: what is asked, in which words, and what is right."""
