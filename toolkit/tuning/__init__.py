"""A search for good settings: Optuna proposes them, the engine of experiments trains them, no test part is read."""
