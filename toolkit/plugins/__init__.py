"""Plugins: declared, listed, checked against their signatures and built."""
