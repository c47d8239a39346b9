"""What people are told of a scoring: a page with pictures, advice, alarms."""
