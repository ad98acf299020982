"""NeMo Guardrails with a folder generated from a bundle, in front of its fake model."""
