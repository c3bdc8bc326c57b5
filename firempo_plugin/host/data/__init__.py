"""From the rows of a data set to the passes of a step."""
