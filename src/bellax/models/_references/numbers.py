"""A number or an array of them: what the references take and return pointwise."""

import numpy as np
from jaxtyping import Float

Numbers = float | Float[np.ndarray, "..."]
