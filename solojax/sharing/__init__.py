"""A run for others: as a folder of weights, config and card, and on the Hub."""
