"""Pages that are one file each, the small pictures on them, and the viewer of images."""
