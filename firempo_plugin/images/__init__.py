"""Images as the trainer sees them, their masks, and what is done to them."""
