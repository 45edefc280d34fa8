"""Model repositories on the Hub, and their cards."""
