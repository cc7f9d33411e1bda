"""Second derivatives: Hessian and Gauss-Newton products."""
