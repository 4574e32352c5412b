"""The models' mathematics, faster: put in place of the readable blocks, which do not know them."""
