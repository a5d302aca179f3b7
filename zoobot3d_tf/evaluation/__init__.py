"""How good predictions are: scores beside baselines and noise floors, and a report to look at."""
