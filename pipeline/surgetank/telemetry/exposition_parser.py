"""Reads values from a metrics page in Prometheus' text format."""


def sample_total(page: str, metric: str, **labels: str) -> float:
    """Return the sum of a metric over the series with these labels; 0 without such a series. Pure."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in page.splitlines()
        if line.startswith((f"{metric} ", f"{metric}{{")) and all(label in line for label in wanted)
    )
