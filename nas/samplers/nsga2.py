"""NSGA-II: evolution of the Pareto front."""

from optuna.samplers import NSGAIISampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from .problem import Maker, Problem


class _NSGAII(NSGAIISampler):
    """Parents are the elite of all earlier generations that the study still holds.

    Optuna's are the elite of the last generation and of *its* parents, which it finds in the study's cache or else by
    asking itself for the generation before, and so on back to the first: in a study that was made anew that is as deep
    as there are generations. An elite of everything earlier is what the recursion comes to.
    """

    def select_parent(self, study: Study, generation: int) -> list[FrozenTrial]:
        key = self._get_generation_key()
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        earlier = [trial for trial in finished if trial.system_attrs.get(key, 0) < generation]
        return self._elite_population_selection_strategy(study, earlier)


def make(problem: Problem) -> Maker:
    """Generations of a quarter of the trials, 4 to 50."""
    return lambda seed: _NSGAII(population_size=max(4, min(50, problem.trials // 4)), seed=seed)
