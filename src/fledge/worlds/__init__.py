"""Where experience is made: processes in tables, gridworlds, gymnasium, and verifiable text
tasks.
"""
