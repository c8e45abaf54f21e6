"""What is unusual: rates, latencies, errors, scores and inputs, each against what was usual for it until now."""
