"""Speed, and quality against time."""
