"""见微: the command line, where the rooms meet, and the model that comes with the package."""
