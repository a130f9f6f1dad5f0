"""Comparisons with independent implementations."""
