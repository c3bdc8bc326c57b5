"""Pairs out of the house: one file for each format."""
