"""The deployed form of a trained network: ``python -m nas.export TRAINED.yaml --weights F --onnx F``."""
