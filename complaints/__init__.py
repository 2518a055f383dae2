"""The shared language: what a complaint is, how a trained model reads it, and what it means."""
