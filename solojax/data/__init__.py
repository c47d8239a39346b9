"""From a COCO folder to batches; knows no JAX."""
