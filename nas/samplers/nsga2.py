"""NSGA-II: evolution of the Pareto front."""

from optuna.samplers import BaseSampler, NSGAIISampler


def make(seed: int, trials: int) -> BaseSampler:
    """Generations of a quarter of the trials, 4 to 50."""
    return NSGAIISampler(population_size=max(4, min(50, trials // 4)), seed=seed)
