"""Settings become components: factories and nothing else."""
