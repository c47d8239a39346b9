"""From a folder to a config: arithmetic on the data set and the machine, each with its reason."""
