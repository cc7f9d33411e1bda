"""dattri's MNIST-10 benchmark: its models and trainings, its ground truths, and scores compared with them."""
