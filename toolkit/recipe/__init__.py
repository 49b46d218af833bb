"""Recipes: from YAML to a checked, resolved recipe. Imports no torch."""
