"""The only Ray and the only Optuna of the project."""
