"""Ray, as far as trainings need it: a cluster that is started or joined, and processes that train together."""
