"""What analysts see, under /review. Heavy: only `mount` may be imported from outside, and it brings in nothing."""
