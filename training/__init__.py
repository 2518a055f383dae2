"""From labelled complaints to a registered model."""
