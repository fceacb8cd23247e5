"""DEFLECT (arXiv 2503.09493): spectra change the direction of the patch embeddings of a frozen RGB GFM.

z_P are the GFM's tokens of the RGB bands, x_A tokens of the spectra. q_P, k_P, v_P and proj belong to the frozen
attention of a block. T and the low-rank maps from x_A to q_A, k_A and v_A are trained. Each equation is one function:

1. Untangled Patch Embedding, ``upe.UntangledPatchEmbedding.forward`` (section 2.1), where s are statistics of the
   spectral indices and reflectances of a patch's pixels::

       x_A = T(s) * ||z_P(0)|| / ||T(s)||

2. Untangled attention, ``uatt.UntangledAttention.forward`` (section 2.2)::

       delta = proj(softmax((q_P + q_A) (k_P + k_A)^T / sqrt(d)) (v_P + v_A))

3. Embedding deflection, ``deflection.keep_length`` (section 2.3), where delta_P is the displacement by RGB attention
   alone, proj(softmax(q_P k_P^T / sqrt(d)) v_P)::

       z_P <- z_P + ||delta_P|| * delta / ||delta||

``model.DeflectedGFM`` embeds with 1 and applies 2, 3 and then the frozen MLP in every block.
"""
