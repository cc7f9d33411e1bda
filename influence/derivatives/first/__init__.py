"""First derivatives: per-example gradients as factors (layer input, output gradient), checked against autograd."""
