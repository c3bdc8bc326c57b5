"""What a method asks of a row, as data, and its loss: one pure function an equation."""
