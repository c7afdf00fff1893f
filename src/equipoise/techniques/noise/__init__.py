"""D. Noise inside the network: sampled in training, marginalized in prediction."""
