"""Full training of an exported architecture: ``python -m trainers.full BEST.yaml``."""
