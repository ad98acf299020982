"""A LiteLLM proxy in front of a fake model, guarded in process or over HTTP."""
