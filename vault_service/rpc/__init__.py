"""The gRPC surface: translate in, call one use case, translate out."""
