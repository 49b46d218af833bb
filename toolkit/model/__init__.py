"""The system that a recipe composes: levels, fusion, heads."""
