"""Records: images with their instances, written once, read at random."""
