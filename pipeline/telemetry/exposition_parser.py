"""What a page of metrics says, as Prometheus would read it."""


def sample_total(page: str, metric: str, **labels: str) -> float:
    """Return a metric, summed over those of its series that have these labels; 0 if there are none. Pure."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in page.splitlines()
        if line.startswith((f"{metric} ", f"{metric}{{")) and all(label in line for label in wanted)
    )
