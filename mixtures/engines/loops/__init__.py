"""Sources of the loops that are linked as object code; `mixtures.engines` has a module of the same name for each."""
