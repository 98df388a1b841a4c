"""Tensor operations that methods share. They know no model."""
