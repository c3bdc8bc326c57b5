"""Pages that are one file each, and the small pictures on them."""
