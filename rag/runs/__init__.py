"""Run folders: many questions answered, calibrated, evaluated."""
