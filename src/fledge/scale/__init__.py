"""Many processes that train one model: they meet, hold against each other what they were started
with, and end together. A run of one process imports none of it.
"""
