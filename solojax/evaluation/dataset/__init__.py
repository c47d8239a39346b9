"""What can be said of a data set without a network, by arithmetic on its records."""
