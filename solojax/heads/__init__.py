"""One file per head: what it predicts, its targets, its loss, its detections."""
