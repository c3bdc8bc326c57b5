"""Reading a question and an answer to it, and putting another answer in its place."""
