"""A trained network as files that run without solojax."""

WEIGHTS = {  # what a file keeps them as, and how it says so
    "float32": "all float32",
    "float16": "kernels float16, all else float32",
    "int8": "kernels int8, to be multiplied by NAME.scale, which has a float32 for each place of "
    "the last axis; all else float32",
}
