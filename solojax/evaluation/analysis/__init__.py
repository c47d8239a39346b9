"""What scores are made of: errors and their causes, labels to doubt, scores to show."""
