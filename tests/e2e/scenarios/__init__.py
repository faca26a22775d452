"""The scenarios: one module a tier, one function a scenario."""
