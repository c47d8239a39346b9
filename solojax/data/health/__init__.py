"""The files of a set as a whole: what is wrong with them, and what would cure it."""
