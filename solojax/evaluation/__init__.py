"""From a network to COCO's numbers."""
