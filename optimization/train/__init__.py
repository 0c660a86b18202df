"""Training: the linear backbone, a residual learner for each member, and their export to ONNX."""
