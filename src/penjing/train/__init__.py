"""How anything is trained, whatever it is: optimizers, schedules, averages, a run that survives being killed."""
