"""What the service remembers: every answer it gave. The only place that speaks SQL."""
