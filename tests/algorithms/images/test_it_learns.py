"""Every task without labels makes features from which labels are read better than off pixels and off
the same network untrained, whatever the seed; and a model of the next frame beats copying.
"""
