"""params.yaml joined with one profile, typed; every problem is reported at once.

The paper's values are the defaults of the components' settings, which `schema` composes; params.yaml is written from
them (``python -m polite_flamingo.params``) and is what users edit and DVC watches. The machine's and the data's values
live in ``configs/profiles/<name>.yaml``, whose ``overrides`` tree may replace values of params.yaml; nothing else
overlaps. A value set in params.yaml that a profile replaces would have no effect, and is refused. Which stages there
are follows from the profile: `schema.Params.stages`.
"""
