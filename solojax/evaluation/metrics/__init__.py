"""Average precision as COCO has it, and by outlines."""
