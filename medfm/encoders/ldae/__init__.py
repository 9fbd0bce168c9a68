"""The latent diffusion autoencoder for 3D brain MRI (LDAE): its networks, and arithmetic on its codes.

Lozupone et al., Latent Diffusion Autoencoders (arXiv 2504.08635; Medical Image Analysis 108, 2026,
103932). The diffusion itself, which knows nothing of networks, is in :mod:`medfm.objectives.diffusion`.
"""
