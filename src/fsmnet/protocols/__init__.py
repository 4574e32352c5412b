"""The ways to simulate and to score; what they differ in is answered by one object each."""
