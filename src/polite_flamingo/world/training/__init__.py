"""Small models of the same kinds the paper starts from, trained on the embedded world (``make backbones``).

The paper starts from LLaMA, CLIP, OpenFlamingo, a DeBERTa NLI cross-encoder and the OpenAssistant reward model. The
tiny profile has one small model of each kind; this package trains them, the wheel ships them, the stage `backbones`
checks them.
"""
