"""The models' mathematics, faster: twins that :mod:`.install` puts in place of the readable blocks."""
