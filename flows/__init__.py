"""When and where to run: Prefect, over the stages of DVC's own graph."""
