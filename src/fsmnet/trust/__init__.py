"""How far a reconstruction may be trusted: what it says of lines it was not shown, and what the auxiliary did."""
