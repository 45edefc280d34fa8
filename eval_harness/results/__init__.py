"""Result files, summaries and statistics."""
