"""Fine-tuning: questions become negatives, models, verdicts."""
