"""From an image and a noun phrase to the region that it names."""
