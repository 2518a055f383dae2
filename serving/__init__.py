"""From a request to a stored answer."""
