"""The run folder: what a run leaves behind, how it continues, and how it is looked at
afterwards.
"""
