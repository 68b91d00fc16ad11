"""Rows as people have them: the shapes in which instruction data, preferences and prompts are
passed around, read one way.
"""
