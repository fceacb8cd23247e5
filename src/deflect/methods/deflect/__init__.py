"""DEFLECT (arXiv 2503.09493): spectra change the direction of the patch embeddings of a frozen RGB GFM.

z_P(0) are the tokens of the RGB bands, x_A those of the spectra. q_P, k_P, v_P and proj are the frozen GFM's; T and the
maps from x_A to q_A, k_A, v_A are trained. Three equations make the method, each computed by one function:

1. Untangled Patch Embedding (section 2.1): :meth:`.upe.UntangledPatchEmbedding.forward`. The descriptor of a patch
   holds statistics of the spectral indices and reflectances of its pixels::

       x_A = T(descriptor) * ||z_P(0)|| / ||T(descriptor)||

2. Untangled attention (section 2.2): :meth:`.uatt.UntangledAttention.forward`, in every block::

       delta = proj(softmax((q_P + q_A) (k_P + k_A)^T / sqrt(d)) (v_P + v_A))

3. Deflection (section 2.3): :func:`.deflection.keep_length`. delta_P is the displacement by RGB attention alone,
   equation 2 without q_A, k_A and v_A::

       z <- z + ||delta_P|| * delta / ||delta||

:class:`.model.DeflectedGFM` applies them, with the GFM's own MLP after each deflection.
"""

from deflect.methods.deflect.config import SETTINGS, DeflectConfig

__all__ = ["SETTINGS", "DeflectConfig"]
