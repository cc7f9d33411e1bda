"""First derivatives: gradients of single examples, in factors, checked against autograd."""
