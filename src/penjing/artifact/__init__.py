"""The folder that leaves the workshop: manifest, files, ONNX lowering."""
