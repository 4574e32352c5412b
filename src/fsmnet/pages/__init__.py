"""One page of results: a file that opens from disk, asks no network, and is looked at, searched, printed and kept."""
