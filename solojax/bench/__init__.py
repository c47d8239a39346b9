"""Measures what this machine makes of a config; synthetic images, so that no data set is needed."""
